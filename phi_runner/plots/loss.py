"""The curves of a training."""

from collections.abc import Sequence
from pathlib import Path

_SHARE = "eval_rewards/accuracies"


def loss_curve(history: Sequence[dict[str, float]], *, file: Path, title: str) -> None:
    """Draw training and held-out loss over the optimiser steps; `history` holds the trainer's log lines.

    Where answers were compared, the share of held-out pairs whose chosen answer gained more is drawn too.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    for name, label, style in (("loss", "training", ".-"), ("eval_loss", "held out", "o-")):
        points = [(line["step"], line[name]) for line in history if name in line]
        if points:
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, losses, style, label=f"{label} (last {losses[-1]:.3f})", markersize=4)
    axes.set_xlabel("optimiser step")
    shares = [(line["step"], line[_SHARE]) for line in history if _SHARE in line]
    axes.set_ylabel("preference loss" if shares else "cross entropy, nats per token")
    axes.set_ylim(bottom=0)
    if shares:
        axes.plot([], [], ":", color="gray", label=f"held-out pairs won (last {shares[-1][1]:.0%})")
        right = axes.twinx()
        right.plot(*zip(*shares, strict=True), ":", color="gray")
        right.set_ylabel("share of pairs")
        right.set_ylim(0, 1.02)
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file)
