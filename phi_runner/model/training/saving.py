"""A trainer that loses nothing: whole checkpoints, a stop between steps, no step with a loss that is no number."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer

from phi_runner.config.resuming import Settings
from phi_runner.errors import TrainFailed
from phi_runner.model.training import checkpoints, disk, finite, together
from phi_runner.model.training.interrupt import StopRequest


@dataclass(slots=True, kw_only=True)
class Guard:
    """What a trainer needs to know to be never lost."""

    settings: Settings
    """Written into every checkpoint."""
    rows: Iterable[Sequence[int]] = ()
    """Token ids of the training rows before packing, to name those of a bad step."""
    stop: StopRequest = field(default_factory=StopRequest)


class AtomicSaving(Trainer):  # type: ignore[misc]  # transformers is not typed
    """Saves, stops and gives up safely; give it a `guard` before it trains. To be named before TRL's trainer."""

    guard: Guard | None = None
    saved_every_s = 600.0
    """How much work a kill may cost, whatever the steps between checkpoints take."""
    measured: Mapping[str, Any] = {}
    """What the training took (see meter.py), once it is over."""
    stepping = False
    """True while the optimiser changes the weights: they belong to no step then."""
    _continued: Path | None = None
    _written_in: Path | None = None
    _saved_step = -1
    _saved_at = 0.0
    _stops = False
    _due = False
    _batches: Sequence[Any] = ()
    _losses: Sequence[Any] = ()

    def train(self, resume_from_checkpoint: str | None = None, **named: Any) -> Any:
        """Train as the library does, from a checkpoint or anew."""
        self._saved_step = checkpoints.step_of(Path(resume_from_checkpoint)) if resume_from_checkpoint else -1
        self._saved_at, self.stepping = 0.0, False
        self._continued = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **named)

    def _run_epoch(self, **named: Any) -> None:
        """Run an epoch in its own order, also where one of several processes goes on in the middle of it."""
        set_epoch(named["train_dataloader"], named["epoch"])
        super()._run_epoch(**named)

    def get_batch_samples(self, *args: Any, **named: Any) -> Any:
        """Fetch the micro-batches of a step and remember them, to name their rows if the step goes wrong."""
        found = super().get_batch_samples(*args, **named)
        self._batches, self._losses = found[0], []
        if self._continued:
            self._add_up_from(self._continued)
            self._continued = None
        self._saved_at = self._saved_at or time.monotonic()
        return found

    def training_step(self, *args: Any, **named: Any) -> Any:
        """Compute one micro-batch's gradients and remember its loss."""
        loss = super().training_step(*args, **named)
        self._losses = [*self._losses, loss]
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Agree with the other processes, before the optimiser steps, whether it may and what follows."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        bad = not finite.number(norm, *self._losses)
        due = self.guard is not None and time.monotonic() - self._saved_at > self.saved_every_s
        stops = self.guard is not None and self.guard.stop.asked
        bad, self._due, self._stops = together.any_of(bad, due, stops)
        if bad:
            raise self._not_a_number(norm)
        self.stepping = True
        return norm

    def _not_a_number(self, norm: Any) -> TrainFailed:
        guilty = [batch for batch, loss in zip(self._batches, self._losses, strict=False) if not finite.number(loss)]
        what = "loss" if together.everybodys([len(guilty)]) != [0] else "gradient"
        mine = finite.places(guilty or self._batches, rows=self.guard.rows if self.guard else ())
        found = together.everybodys(mine if guilty or what == "gradient" else [])
        step = self.state.global_step
        last = self._saved_step
        kept = f"the weights are those of step {last}, the last checkpoint" if last >= 0 else "nothing was saved"
        return TrainFailed(
            f"the {what} of step {step + 1} is {_shown(norm, self._losses)}: {finite.told(found)}; the step was not "
            f"taken, {kept}; the same command would come to the same step: look at these rows, or type "
            f"train.learning_rate={self.args.learning_rate / 10:g}, which begins a new training"
        )

    def _maybe_log_save_evaluate(self, *args: Any, **named: Any) -> None:
        """Log, save and evaluate as the library does; save and stop here when somebody has asked for it."""
        self.stepping = False
        stops = self._stops or bool(self.guard and self.guard.stop.asked and not together.several())
        self.control.should_save |= self._due or stops
        self.control.should_evaluate &= not stops
        super()._maybe_log_save_evaluate(*args, **named)
        if stops and self.guard:
            raise self.guard.stop.stopped(step=self.state.global_step)

    def prediction_step(self, *args: Any, **named: Any) -> Any:
        """Evaluate one batch; in the middle of training, a wish to stop is heard here too."""
        if self.guard and self.guard.stop.asked and self.is_in_train and not together.several():
            self._save_checkpoint(self.model, None)
            raise self.guard.stop.stopped(step=self.state.global_step)
        return super().prediction_step(*args, **named)

    def create_model_card(self, *_arguments: Any, **_named: Any) -> None:
        """Write none: TRL wants one beside the checkpoints, and they are not handed on."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._written_in) if self._written_in else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let the library write its files aside, then put them into place whole; a step is saved once.

        Raises TrainFailed when the disk is full or the weights are no numbers; what was saved before stays.
        """
        step = self.state.global_step
        if step == self._saved_step:
            return
        folder = Path(self._get_output_dir(trial))
        if any(together.any_of(not finite.weights(model))):
            raise TrainFailed(f"the weights after step {step} are not all numbers: they were not saved")
        with self._written_aside(folder, step=step) as written_in:
            super()._save_checkpoint(model, trial)
            self._write_sums(written_in / f"checkpoint-{step}")
            together.wait()  # for the random states and shards of the others
            if together.first():
                self._finish(written_in / f"checkpoint-{step}", folder=folder)
        together.wait()
        self._saved_step, self._saved_at, self._due = step, time.monotonic(), False

    def _write_sums(self, checkpoint: Path) -> None:
        """Write what the next log line is the mean of: the library forgets it, and the loss curve would show it."""
        sums = {
            "loss": float(self._tr_loss), "logged": self._globalstep_last_logged,
            "tokens": getattr(self, "_total_train_tokens", 0),
        }  # fmt: skip
        (checkpoint / f"sums_{self.args.process_index}.json").write_text(json.dumps(sums), encoding="utf-8")

    def _add_up_from(self, checkpoint: Path) -> None:
        """Go on with the sums of a checkpoint; one of another number of processes may lack them."""
        file = checkpoint / f"sums_{self.args.process_index}.json"
        if file.is_file():
            sums = json.loads(file.read_text(encoding="utf-8"))
            self._tr_loss += sums["loss"]
            self._globalstep_last_logged = sums["logged"]
            self._total_train_tokens = sums["tokens"]

    def _finish(self, written: Path, *, folder: Path) -> None:
        best = self.state.best_global_step
        if best and self.args.load_best_model_at_end:  # the library looked for it where this one was written
            self.state.best_model_checkpoint = str(folder / f"checkpoint-{best}")
            self.state.save_to_json(str(written / "trainer_state.json"))
        if self.guard:
            self.guard.settings.write(written)
        checkpoints.publish(written, folder=folder)
        checkpoints.rotate(folder, keep=self.args.save_total_limit, best=self.state.best_model_checkpoint)

    @contextmanager
    def _written_aside(self, folder: Path, *, step: int) -> Iterator[Path]:
        """Send what is saved in a block to a hidden folder that is gone at its end, however it ends."""
        place = checkpoints.aside(folder, step=step)
        if together.first():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        together.wait()
        self._written_in = place
        try:
            yield place
        except (OSError, RuntimeError, SafetensorError) as err:
            if not disk.is_full(err):
                raise
            shutil.rmtree(place, ignore_errors=True)
            needed = checkpoint_bytes(self.model, self.optimizer)
            raise disk.failure(folder, step=step, needed=needed, last=self._saved_step) from err
        finally:
            self._written_in = None
            if together.first():
                shutil.rmtree(place, ignore_errors=True)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell every sampler below a data loader the epoch.

    accelerate looks three levels deep. A resumed loader of several processes has four: the rows of the first epoch
    would come again.
    """
    sampler = getattr(loader, "batch_sampler", None)
    while sampler is not None:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)


def checkpoint_bytes(model: Any, optimizer: Any) -> int:
    """Return how large a checkpoint will be: the weights that it holds, and the optimiser's two moments of them."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    moments: int = sum(
        value.numel() * value.element_size()
        for state in (optimizer.state.values() if optimizer else ())
        for value in state.values()
        if hasattr(value, "numel")
    )
    held: int = sum(weight.numel() * weight.element_size() for weight in trained)
    return held + (moments or 2 * held)


def _shown(norm: Any, losses: Sequence[Any]) -> str:
    values = [*losses, norm]
    return next((f"{float(value)}" for value in values if not finite.number(value)), "no number")
