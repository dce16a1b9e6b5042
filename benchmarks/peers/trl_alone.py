"""TRL 1.16 alone, through a short script: the tutorial's settings, its own defaults, and the plain ones we check by."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import Peer, printed
from benchmarks.tasks import Task

_SCRIPT = Path(__file__).parent / "scripts" / "trl_train.py"


def common(task: Task) -> dict[str, Any]:
    """Return the arguments of SFTConfig that make it the task that all others do."""
    return {
        "output_dir": str(task.folder / "out"),
        "max_length": task.context,
        "packing": True,
        "per_device_train_batch_size": task.batch,
        "learning_rate": task.learning_rate,
        "max_steps": task.steps,
        "logging_steps": 1,
        "include_num_input_tokens_seen": "non_padding",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not task.cuda,
        "seed": task.seed,
        "data_seed": task.seed,
    }


def _command(
    *, attention: str = "sdpa", dtype: str = "float32", lora_rank: int = 0, **arguments: Any
) -> Callable[[Task, Path], list[str]]:
    def command(task: Task, python: Path) -> list[str]:
        chosen = {name: value(task) if callable(value) else value for name, value in arguments.items()}
        settings = {
            "model": str(task.model), "dialogues": str(task.dialogues), "attention": attention, "dtype": dtype,
            "lora_rank": lora_rank, "arguments": common(task) | chosen, "packed": [str(file) for file in task.packed],
        }  # fmt: skip
        file = task.folder / "settings.json"
        file.write_text(json.dumps(settings), encoding="utf-8")
        return [str(python), str(_SCRIPT), str(file)]

    return command


def _fast_bf16(task: Task) -> bool:
    return task.precision == "bf16"


_TUTORIAL: dict[str, Any] = {"attention": "eager", "packing_strategy": "wrapped", "gradient_checkpointing": True}
TUTORIAL = Peer(
    name="tutorial",
    about="bf16 weights, eager attention, gradient checkpointing, wrapped packing, batch 4",
    command=_command(**_TUTORIAL, dtype="bfloat16", bf16=True),
    steps=printed,
    slow_bf16=True,
)
TUTORIAL_FP32 = Peer(
    name="tutorial in fp32",
    about="the same with fp32 weights and matrices, for machines that multiply bf16 slowly",
    command=_command(**_TUTORIAL, bf16=False),
    steps=printed,
)
DEFAULTS = Peer(
    name="TRL defaults",
    about="what SFTConfig chooses: bf16 autocast, gradient checkpointing, bfd packing, SDPA",
    command=_command(bf16=True),
    steps=printed,
    slow_bf16=True,
)
DEFAULTS_HERE = Peer(
    name="TRL defaults, this machine's precision",
    about="the same in fp32 where bf16 is slow",
    command=_command(bf16=_fast_bf16),
    steps=printed,
)
PLAIN = Peer(
    name="TRL plain",
    about="fp32, SDPA, bfd packing, one row at a time, no checkpointing: what the loss is checked against",
    command=_command(
        bf16=False, gradient_checkpointing=False, per_device_train_batch_size=1,
        gradient_accumulation_steps=lambda task: task.batch,
    ),
    steps=printed,
)  # fmt: skip
DEFAULTS_LORA = Peer(
    name="TRL defaults, LoRA",
    about="rank 16 on all linear layers",
    command=_command(bf16=_fast_bf16, lora_rank=16),
    steps=printed,
)
