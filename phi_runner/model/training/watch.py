"""What TRL's trainer tells while it works: progress and losses to the events, metrics to the tracker."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from phi_runner.errors import Pruned
from phi_runner.events import StageEvents
from phi_runner.model.training import together

Judge: TypeAlias = Callable[[Sequence[tuple[int, float]]], str]
"""Says why a training is to be given up, or nothing, from its held-out losses so far, each with the share of the
training that was done, in percent."""


def never(_curve: Sequence[tuple[int, float]]) -> str:
    """Give up no training."""
    return ""


class MetricSink(Protocol):
    """Where metrics go."""

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        """Record values of one step."""


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Hands on what the trainer logs."""

    def __init__(self, events: StageEvents, *, sink: MetricSink, judge: Judge = never) -> None:
        self._events = events
        self._sink = sink
        self._judge = judge
        self._loss = ""
        self._given_up = ""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Move the bar; the last step is logged too, however many there are."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        self._events.progress(state.global_step, state.max_steps, self._loss, epoch=round(state.epoch or 0.0, 3))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_more: Any
    ) -> None:
        """Record a log line's numbers."""
        values = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        loss = values.get("loss")
        if loss is not None:
            self._loss = f"loss {loss:.3f}"
        self._sink.metrics(values, step=state.global_step)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Ask whether it is worth going on; what is given up is saved first."""
        curve = held_out(state.log_history, steps=state.max_steps)
        self._given_up = together.decided(lambda: self._judge(curve)) if state.global_step < state.max_steps else ""
        control.should_save |= bool(self._given_up)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Say that a killed run would continue from here; raises Pruned when it is to be given up here."""
        self._events.progress(state.global_step, state.max_steps, self._loss, checkpoint=state.global_step)
        if self._given_up:
            where = f"step {state.global_step} of {state.max_steps}, which is saved"
            raise Pruned(f"given up after {where}: {self._given_up}")


def held_out(history: Sequence[dict[str, Any]], *, steps: int) -> list[tuple[int, float]]:
    """Return the held-out losses among a trainer's log lines by the share of its steps in percent."""
    lines = [line for line in history if "eval_loss" in line]
    return [(round(100 * line["step"] / max(1, steps)), float(line["eval_loss"])) for line in lines]
