"""Run a trainer so that nothing is lost: from its checkpoint, stoppable between steps, in the memory there is."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from phi_runner.config.resuming import Settings
from phi_runner.events import StageEvents
from phi_runner.model.training import checkpoints, disk, interrupt, resume, retry, together
from phi_runner.model.training.meter import Meter
from phi_runner.model.training.saving import AtomicSaving, Guard, checkpoint_bytes


def train(
    trainer: AtomicSaving, *, settings: Settings, rows: Iterable[Sequence[int]], resume_from: str, folder: Path,
    events: StageEvents,
) -> None:  # fmt: skip
    """Train to the end, going on from the newest whole checkpoint in `folder`, or from the one named `resume_from`.

    `rows` are the token ids of each training row before packing, to name those of a bad step. Raises TrainFailed when
    it cannot go on, and Stopped, with the last step saved, when somebody asks for it.
    """
    checkpoint = resume.start(folder, named=resume_from, now=settings, warn=events.warn)
    if checkpoint:
        events.info(f"continues from step {checkpoints.step_of(checkpoint)}, the last checkpoint")
    if together.first() and (told := disk.warning(folder, needed=_needed(trainer), kept=_kept(trainer))):
        events.warn(told)
    with interrupt.asked_for() as stop:
        trainer.guard = Guard(settings=settings, rows=rows, stop=stop)
        trainer.add_callback(meter := Meter())
        retry.train(trainer, checkpoint=checkpoint, newest=lambda: checkpoints.newest(folder), events=events)
    trainer.measured = meter.told(trainer)


def _needed(trainer: Any) -> int:
    return checkpoint_bytes(trainer.model, trainer.optimizer)


def _kept(trainer: Any) -> int:
    return int(trainer.args.save_total_limit or 1)
