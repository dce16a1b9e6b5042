"""Memory that runs out in the middle of training: the same step again, in smaller micro-batches."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model.device import out_of_memory
from phi_runner.model.training import checkpoints, together


def train(trainer: Any, *, checkpoint: Path | None, newest: Callable[[], Path | None], events: StageEvents) -> None:
    """Train to the end; `newest` looks up the checkpoint from which the next attempt goes on.

    The rows of a step, its gradient and its loss stay the same but for rounding; only how many of the rows go through
    the model at once is halved, as often as it takes. Raises TrainFailed when one row at a time is too much.
    """
    while True:
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except (RuntimeError, MemoryError) as err:
            if not out_of_memory(err):
                raise
            cause = err.with_traceback(None)  # its frames hold the tensors of the step
        else:
            return
        _check(trainer, cause)
        checkpoint = _saved(trainer, newest)
        if checkpoint is None and (trainer.state.global_step or trainer.stepping):
            raise _failure(trainer, "before anything was saved") from cause
        _halve(trainer, step=checkpoints.step_of(checkpoint) if checkpoint else 0, events=events)


def smaller(size: int) -> int:
    """Return the largest divisor of `size` that is at most its half: the step still divides evenly."""
    return next(half for half in range(size // 2, 0, -1) if size % half == 0)


def _check(trainer: Any, cause: BaseException) -> None:
    if together.several():  # the others wait for this one's gradients and cannot be told
        raise _failure(trainer, "in one of several processes") from cause
    if trainer.args.per_device_train_batch_size == 1:
        raise _failure(trainer, "with one row at a time") from cause


def _failure(trainer: Any, when: str) -> TrainFailed:
    micro = trainer.args.per_device_train_batch_size
    typed = f"train.micro_batch={smaller(micro)}" if micro > 1 else "train=lora, a smaller train.max_length"
    return TrainFailed(
        f"out of memory {when}, after step {trainer.state.global_step}: type {typed} "
        "or train.gradient_checkpointing=always"
    )


def _saved(trainer: Any, newest: Callable[[], Path | None]) -> Path | None:
    """Save where training stands, if the weights belong to a step, and return the newest checkpoint."""
    gc.collect()
    trainer.model.zero_grad(set_to_none=True)
    _give_back()
    if trainer.state.global_step and not trainer.stepping:
        try:
            trainer._save_checkpoint(trainer.model, None)
        except (RuntimeError, MemoryError) as err:
            if not out_of_memory(err):
                raise
    return newest()


def divide(trainer: Any, size: int) -> None:
    """Set a trainer to micro-batches of `size` rows; its steps keep theirs."""
    args = trainer.args
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps
    args.gradient_accumulation_steps, args.per_device_train_batch_size = rows // size, size
    args.per_device_eval_batch_size = min(args.per_device_eval_batch_size, 2 * size)
    trainer._train_batch_size = args.train_batch_size


def _halve(trainer: Any, *, step: int, events: StageEvents) -> None:
    """Set the trainer to smaller micro-batches and more of them; what it keeps of the failed attempt is forgotten."""
    before, half = trainer.args.per_device_train_batch_size, smaller(trainer.args.per_device_train_batch_size)
    divide(trainer, half)
    trainer.model_wrapped = trainer.model
    trainer.optimizer = trainer.lr_scheduler = None  # made anew: a failed step may have begun to fill it
    trainer.accelerator.free_memory()
    _give_back()
    rows = half * trainer.args.gradient_accumulation_steps
    events.warn(
        f"out of memory with {before} rows at once: goes on from step {step} with {half}; a step keeps its {rows} rows "
        f"(type train.micro_batch={half} to begin so)", micro_batch=half,
    )  # fmt: skip


def _give_back() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
