"""Parallel coordinates: an axis for each swept key and one for the objective, a line for each trial."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phi_runner.plots import scales
from phi_runner.plots.ink import BEST, GREY, INK, MAP, SIZE
from phi_runner.plots.scales import Scale
from phi_runner.plots.sweep import Point, short, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONG = 12
"""Characters of an axis' name in one line."""
_LINES = 0.85


def parallel(points: Sequence[Point], *, title: str, maximise: bool) -> "Figure":
    """Draw the trials; those without the objective end, grey, at the last key."""
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(key for point in points for key in point.values))
    figure = Figure(figsize=(max(4.6, 1.25 * (len(keys) + 1.6)), 3.3), layout="constrained")
    axes = figure.subplots()
    rows = [_scale(points, key) for key in keys]
    good = [point.value for point in points if point.value is not None]
    goal = spread(good, maximise=maximise) if good else None
    _lines(axes, points, keys=keys, rows=rows, goal=goal, maximise=maximise)
    for at, (name, scale) in enumerate(zip(short(keys), rows, strict=True)):
        _axis(axes, at, scale, name=name + (" (log)" if scale.log else ""))
    if goal:
        _goal(figure, axes, goal, at=len(keys), title=title, maximise=maximise)
    else:
        axes.text(0.5, -0.04, "no trial has finished", transform=axes.transAxes, ha="center", va="top", fontsize=SIZE)
    axes.set_xlim(-0.55, len(keys) + (0.06 if goal else -0.4))
    axes.set_ylim(-0.06, 1.06)
    axes.set_axis_off()
    return figure


def _scale(points: Sequence[Point], key: str) -> Scale:
    return scales.of([point.values[key] for point in points if key in point.values])


def _lines(
    axes: "Axes", points: Sequence[Point], *, keys: Sequence[str], rows: Sequence[Scale], goal: Scale | None,
    maximise: bool,
) -> None:  # fmt: skip
    from matplotlib import colormaps

    colours = colormaps[MAP if maximise else f"{MAP}_r"]
    for point in sorted(points, key=lambda item: (item.best, item.value is not None)):
        known = [(at, row.place(point.values[key])) for at, (key, row) in enumerate(zip(keys, rows, strict=True))
                 if key in point.values]  # fmt: skip
        if point.value is None or goal is None:
            if known:
                axes.plot(*zip(*known, strict=True), ":", color=GREY, lw=1.0, marker="x", ms=4)
            continue
        end = min(1.0, max(0.0, goal.place(point.value)))
        line = zip(*[*known, (len(keys), end)], strict=True)
        if point.best:
            axes.plot(*line, color=BEST, lw=2.6, marker="o", ms=5, zorder=4, clip_on=False)
        else:
            axes.plot(*line, color=colours(end), lw=1.3, alpha=_LINES, marker="o", ms=2.5, clip_on=False)


def _axis(axes: "Axes", at: int, scale: Scale, *, name: str) -> None:
    axes.plot([at, at], [0, 1], color=INK, lw=1.0, zorder=2)
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for height, label in scale.labels():
        axes.plot([at - 0.03, at], [height, height], color=INK, lw=0.8, zorder=5)
        axes.text(
            at - 0.06, height, _cut(label), ha="right", va="center", fontsize=SIZE - 1, color=INK, zorder=6,
            bbox=ground,
        )  # fmt: skip
    axes.text(at, 1.08, _wrapped(name), ha="center", va="bottom", fontsize=SIZE, color=INK)


def _goal(figure: "Figure", axes: "Axes", goal: Scale, *, at: int, title: str, maximise: bool) -> None:
    """Draw the objective's axis as the bar that says what the colours mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(norm=Normalize(goal.low, goal.high), cmap=MAP if maximise else f"{MAP}_r")
    bar = axes.inset_axes((at, 0.0, 0.07, 1.0), transform=axes.transData)
    figure.colorbar(colours, cax=bar)
    bar.tick_params(labelsize=SIZE - 1, colors=INK)
    axes.text(at, 1.08, _wrapped(title), ha="center", va="bottom", fontsize=SIZE, color=INK)


def _cut(label: str) -> str:
    return label if len(label) <= _LONG else label[: _LONG - 1] + "…"


def _wrapped(name: str) -> str:
    """Return a long name in two lines, parted where its words are."""
    if len(name) <= _LONG:
        return name
    gaps = [at for at, letter in enumerate(name) if letter in "_ ."]
    middle = min(gaps, key=lambda at: abs(at - len(name) / 2), default=0)
    return f"{name[: middle + 1]}\n{name[middle + 1 :]}".replace(" \n", "\n") if middle else name
