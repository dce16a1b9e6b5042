"""What TRL's trainer tells while it works: progress and losses to the events, metrics to the tracker."""

from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from phi_runner.events import StageEvents


class MetricSink(Protocol):
    """Where metrics go."""

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        """Record values of one step."""


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Hands on what the trainer logs."""

    def __init__(self, events: StageEvents, *, sink: MetricSink) -> None:
        self._events = events
        self._sink = sink
        self._loss = ""

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

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Say that a killed run would continue from here."""
        self._events.progress(state.global_step, state.max_steps, self._loss, checkpoint=state.global_step)
