"""The only home of matplotlib: the curves that a run leaves as PNG."""

from collections.abc import Sequence
from pathlib import Path


def loss_curve(history: Sequence[dict[str, float]], *, file: Path, title: str) -> None:
    """Draw training and held-out loss over the optimiser steps; `history` holds the trainer's log lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    for name, label, style in (("loss", "training", ".-"), ("eval_loss", "held out", "o-")):
        points = [(line["step"], line[name]) for line in history if name in line]
        if points:
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, losses, style, label=f"{label} (last {losses[-1]:.3f})", markersize=4)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("cross entropy, nats per token")
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file)
