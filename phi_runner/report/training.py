"""The training of a run: its curves and what it took."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from phi_runner.pages import pictures, pieces
from phi_runner.pages.frame import Section
from phi_runner.plots.lines import Points, Series, lines
from phi_runner.report.overview import duration
from phi_runner.report.run_folder import RunFolder, number, rows, table, text

SHARE = "eval_rewards/accuracies"
_STEP = "optimiser step"
_CHOSEN = ("micro_batch", "attention", "gradient_checkpointing", "fused_loss", "optimizer", "compiled", "bf16")
"""What a training chooses where the settings leave it open."""


def history(run: RunFolder) -> list[dict[str, Any]]:
    """Return the trainer's log lines, those without a step left out."""
    return [line for line in rows(run.of_stage("train", "history.json")) if number(line, "step") is not None]


def points(log: Sequence[dict[str, Any]], name: str) -> Points:
    """Return a figure of the log over the steps."""
    pairs = ((number(line, "step"), number(line, name)) for line in log)
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def _last(found: Points) -> str:
    return f" {found[-1][1]:.3f}" if found else ""


def curves(log: Sequence[dict[str, Any]]) -> Markup | None:
    """Return the charts of one training, small and side by side."""
    learnt, held_out, rewarded = (points(log, name) for name in ("loss", "eval_loss", SHARE))
    if not learnt and not held_out:
        return None
    label = "preference loss" if rewarded else "nats per token"
    both = [
        Series(label=f"training{_last(learnt)}", points=learnt),
        Series(label=f"held out{_last(held_out)}", points=held_out),
    ]
    drawn = [_chart([one for one in both if one.points], y=label, caption="Loss")]
    for name, y, caption in (
        (SHARE, "share of pairs", "Held-out pairs whose chosen answer gained more"),
        ("learning_rate", "learning rate", "Learning rate"),
        ("grad_norm", "norm of the gradient", "Gradient, before it is clipped"),
    ):
        found = points(log, name)
        if len(found) > 1:
            drawn.append(
                _chart([Series(label=caption.partition(",")[0], points=found)], y=y, caption=caption, zero=True)
            )
    return pictures.plots(*drawn)


def _chart(series: Sequence[Series], *, y: str, caption: str, zero: bool = False) -> Markup:
    return pictures.svg(lines(series, x_label=_STEP, y_label=y, from_zero=zero), caption=caption)


def section(run: RunFolder) -> Section | None:
    """Return curves and facts of the training, made now or reused."""
    trained = run.artifact("train")
    drawn = curves(history(run))
    if not trained and drawn is None:
        return None
    stage = run.stage("train")
    reused = stage is not None and stage.status == "reused"
    body = pieces.join(
        pieces.paragraph("This training was done by an earlier run and reused.", note=True) if reused else None,
        drawn,
        pieces.pairs(_facts(trained, table(run.of_stage("train", "measured.json")))),
    )
    return Section(id="training", title="Training", body=body)


def _told(settings: dict[str, Any]) -> Iterator[str]:
    """Yield what was chosen: switches by their names alone, and only those that are on."""
    for name, value in settings.items():
        words = name.replace("_", " ")
        if value is True:
            yield words
        elif value:
            yield f"{words} {str(value).rpartition('.')[2].lower()}"


def _facts(trained: dict[str, Any], measured: dict[str, Any]) -> list[tuple[str, pieces.Cell]]:
    peak = number(measured, "peak_cuda_bytes") or number(measured, "peak_bytes")
    settings = {name: value for name, value in table(measured.get("settings")).items() if name in _CHOSEN}
    kept = "LoRA adapter" if trained.get("adapter") else "whole weights" if trained else None
    return [
        ("starts from", text(trained, "base") or None),
        ("what was kept", kept),
        ("parameters", number(trained, "parameters")),
        ("optimiser steps", number(trained, "steps")),
        ("longest row, tokens", number(trained, "max_length")),
        ("tokens per second", number(measured, "tokens_per_s")),
        ("training loop", duration(number(measured, "loop_s")) if measured.get("loop_s") else None),
        ("peak memory", f"{peak / 2**30:.2f} GiB" if peak else None),
        ("tracking run", text(trained, "tracking_run") or None),
        ("job", text(trained, "job") or None),
        ("chosen on its own", ", ".join(_told(settings)) or None),
    ]
