"""One training in several processes: they meet, get their rows of every step, and divide the weights if asked to.

A step is the same whatever the number of processes: the same rows, counted once, and the loss over all of their tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from phi_runner.config.schema import Strategy, TrainConfig
from phi_runner.errors import TrainFailed
from phi_runner.model.device import Device
from phi_runner.model.training import together
from phi_runner.rank import Rank

_PATIENCE = timedelta(hours=6)
"""How long a process may wait for the others: the first one reads and tokenises alone."""


@contextmanager
def joined(device: Device) -> Iterator[None]:
    """Let the processes of a training meet for a block; nothing happens where there is only one."""
    if Rank.here().alone or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo" if device.cpu else "cuda:nccl,cpu:gloo", timeout=_PATIENCE)
    yield
    dist.destroy_process_group()  # after an error the others may wait for us: the end of this process frees them


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process do a block before the others do it: it writes what they find written."""
    if not together.first():
        together.wait()
    yield
    if together.first():
        together.wait()


def rows_each(config: TrainConfig) -> int:
    """Return how many rows of an optimiser step are this process's; raises TrainFailed when they do not divide."""
    rows, world = config.batch_size * config.accumulation_steps, Rank.here().world
    if rows % world:
        fitting = -(-config.batch_size // world) * world
        raise TrainFailed(
            f"a step of {rows} rows (train.batch_size x train.accumulation_steps) cannot be divided among {world} "
            f"processes: type train.batch_size={fitting}"
        )
    return rows // world


def arguments(device: Device, *, layers: list[str]) -> dict[str, Any]:
    """Return what TRL's config is told about several processes; `layers` names the classes that FSDP shards by."""
    if Rank.here().alone:
        return {}
    ours: dict[str, Any] = {
        "average_tokens_across_devices": True,  # a step's loss is over the tokens of all processes
        "ddp_find_unused_parameters": False,
        "ddp_timeout": int(_PATIENCE.total_seconds()),
        "save_on_each_node": False,
    }
    if device.cpu:
        ours["ddp_backend"] = "gloo"
    match device.strategy:
        case Strategy.ddp:
            return ours
        case Strategy.fsdp:
            return ours | _fsdp(layers)
        case Strategy.deepspeed:
            return ours | {"deepspeed": _zero()}


def _fsdp(layers: list[str]) -> dict[str, Any]:
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "transformer_layer_cls_to_wrap": layers,
            "state_dict_type": "FULL_STATE_DICT", "reshard_after_forward": True,
        },
    }  # fmt: skip


def _zero() -> dict[str, Any]:
    """Return DeepSpeed's config: weights, gradients and optimiser state divided; the trainer fills in `auto`."""
    return {
        "zero_optimization": {"stage": 3, "overlap_comm": True, "stage3_gather_16bit_weights_on_model_save": True},
        "bf16": {"enabled": "auto"}, "gradient_clipping": "auto", "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
    }  # fmt: skip


def let_processors_shard(device: Device) -> None:
    """Let accelerate shard on processors too: torch's FSDP2 works there with gloo, accelerate asks for a device.

    To be called when the training arguments exist and the trainer does not yet.
    """
    if Rank.here().alone or not device.cpu or device.strategy is not Strategy.fsdp:
        return
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU


def whole_weights(trainer: Any) -> dict[str, Any] | None:
    """Return all weights by name in the first process, gathered where they are divided; None: the model has them."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    found: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    return {name: weight for name, weight in found.items() if not _is_copy(name, trainer.model)}


def _is_copy(name: str, model: Any) -> bool:
    """Say whether a weight is another one under a second name, which a saved model does not hold."""
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    tied = core._tied_weights_keys or () if core.config.tie_word_embeddings else ()
    return any(name.endswith(key) for key in tied)
