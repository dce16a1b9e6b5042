"""The trials of a sweep: parallel coordinates, what each key mattered, and how the search went on."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.plots import scales
from phi_runner.plots.ink import BEST, BLUE, GREY, INK, SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trial."""

    values: Mapping[str, Any]
    value: float | None = None
    """The objective; None where the trial did not finish."""
    status: str = "done"
    best: bool = False


def png(figure: "Figure", file: Path) -> None:
    """Write a plot as a picture."""
    figure.savefig(file, dpi=150)


def svg(figure: "Figure") -> str:
    """Return a plot as SVG text; the same plot is the same text."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "phi_runner"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _figure(*, width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=SIZE - 1, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def history(points: Sequence[Point], *, title: str, maximise: bool) -> "Figure":
    """Draw each trial's objective in the order in which they began, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(width=4.6, height=2.9)
    good = [(place, point.value) for place, point in enumerate(points, start=1) if point.value is not None]
    if good:
        _measured(axes, good, last=len(points), maximise=maximise)
    else:
        axes.set_yticks([])
    for status, mark in (("pruned", "|"), ("failed", "x")):
        lost = [place for place, point in enumerate(points, start=1) if point.value is None and _is(point, status)]
        if lost:
            # Below the axis' own range: they have no value, only a place in the order.
            at = [0.03] * len(lost)
            axes.plot(lost, at, mark, transform=axes.get_xaxis_transform(), color=GREY, ms=7, mew=1.6, label=status)
    axes.set_xlim(0.5, max(1, len(points)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial, in the order in which they began", fontsize=SIZE)
    axes.set_ylabel(title, fontsize=SIZE)
    if points:
        figure.legend(loc="outside upper left", ncols=4, fontsize=SIZE - 1, frameon=False, handlelength=1.4)
    return figure


def _measured(axes: "Axes", good: Sequence[tuple[int, float]], *, last: int, maximise: bool) -> None:
    places, values = [place for place, _ in good], [value for _, value in good]
    so_far = [(max if maximise else min)(values[: at + 1]) for at in range(len(values))]
    axes.step([*places, last], [*so_far, so_far[-1]], where="post", color=BEST, lw=1.4, label="best so far")
    scale = spread(values, maximise=maximise)
    inside = [point for point in good if scale.low <= point[1] <= scale.high]
    axes.plot(*zip(*inside, strict=True), "o", color=BLUE, ms=4.5, label="trial", zorder=3)
    room = 0.14 * (scale.high - scale.low)
    axes.set_ylim(scale.low - room, scale.high + room)
    off = [point for point in good if point not in inside]
    if off:
        edge = [scale.low - room / 2 if value < scale.low else scale.high + room / 2 for _, value in off]
        mark = "v" if maximise else "^"
        axes.plot([place for place, _ in off], edge, mark, color=BLUE, ms=5, mfc="none", label="far off")


def _is(point: Point, status: str) -> bool:
    return (point.status == "pruned") == (status == "pruned")


def importance(shares: Mapping[str, float], *, why_not: str) -> "Figure":
    """Draw how much of the differences each key explains, or say why nobody knows."""
    figure, axes = _figure(width=4.6, height=max(1.6, 0.9 + 0.36 * len(shares)))
    if not shares:
        axes.set_axis_off()
        axes.text(0.5, 0.5, why_not, ha="center", va="center", fontsize=SIZE, color=INK, wrap=True)
        return figure
    names = list(shares)[::-1]
    widths = [100 * shares[name] for name in names]
    bars = axes.barh(short(names), widths, color=BLUE, height=0.62)
    axes.bar_label(bars, [f"{width:.0f} %" for width in widths], padding=3, fontsize=SIZE - 1, color=INK)
    axes.set_xlim(0, 112)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("share of the differences between trials, %", fontsize=SIZE)
    axes.tick_params(axis="y", labelsize=SIZE, length=0)
    return figure


def short(keys: Sequence[str]) -> list[str]:
    """Return each key without the part before its last dot, unless two keys would then be the same."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def spread(values: Sequence[float], *, maximise: bool) -> scales.Scale:
    """Return the objective's scale; far-off values, a training that ran away, do not press the others together."""
    ordered = sorted(values)
    quarter, three = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    reach = 3 * (three - quarter)
    low, high = ordered[0], ordered[-1]
    if len(ordered) > 4 and reach > 0:
        low, high = (max(low, quarter - reach), high) if maximise else (low, min(high, three + reach))
    if low == high:
        pad = abs(low) * 0.05 or 0.5
        low, high = low - pad, high + pad
    return scales.Scale(low=low, high=high)
