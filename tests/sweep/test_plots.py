"""The plots of a sweep, from one trial to thirty: valid pictures in which no two words of an axis meet."""

import random
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from phi_runner.plots import scales, sweep
from phi_runner.plots.parallel import parallel
from phi_runner.plots.sweep import Point
from phi_runner.search.importance import importances


def some(count: int, *, unfinished: int = 0) -> list[Point]:
    """Return trials over five keys, numbers by decades, steps, names and switches."""
    chance = random.Random(count)
    found = []
    for number in range(count):
        values = {
            "train.learning_rate": 10 ** chance.uniform(-5, -2), "train.batch_size": chance.choice([8, 16, 32]),
            "train": chance.choice(["full", "lora", "qlora"]), "train.warmup_ratio": chance.uniform(0, 0.3),
            "train.packing": chance.random() < 0.5,
        }  # fmt: skip
        lost = number < unfinished
        value = None if lost else 1 + chance.random()
        found.append(Point(values=values, value=value, status=["failed", "pruned"][number % 2] if lost else "done"))
    return found


CASES = {
    "thirty": some(30, unfinished=5),
    "one": [Point(values={"train.learning_rate": 1e-3}, value=2.1, best=True)],
    "one key": [Point(values={"seed": seed}, value=2.0 + seed) for seed in range(3)],
    "all alike": [Point(values={"seed": seed}, value=2.0) for seed in range(3)],
    "none finished": [Point(values={"seed": seed}, status="failed") for seed in range(2)],
    "far off": [Point(values={"seed": seed}, value=1.0 + seed / 10) for seed in range(8)]
    + [Point(values={"seed": 9}, value=1e6)],
    "half known": [Point(values={"seed": 1, "data": "sample"}, value=1.0), Point(values={"seed": 2}, value=2.0)],
}


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of words that lie on one another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for axes in figure.axes for text in axes.texts if text.get_text() and text.get_visible()]
    texts += [label for axes in figure.axes for label in axes.get_xticklabels() if axes.axison and label.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    pairs = [(one, other) for place, one in enumerate(boxes) for other in boxes[place + 1 :]]
    return [(one[0], other[0]) for one, other in pairs if one[1].overlaps(other[1])]


def valid(figure: Figure) -> bool:
    """Say whether the SVG can be read and holds nothing that runs."""
    root = ElementTree.fromstring(sweep.svg(figure))
    return root.tag.endswith("svg") and not any(item.tag.endswith("script") for item in root.iter())


@pytest.mark.parametrize("points", CASES.values(), ids=CASES)
def test_any_number_of_trials_can_be_drawn(points: Sequence[Point], tmp_path: Path) -> None:
    for name, figure in (
        ("parallel", parallel(points, title="held-out loss", maximise=False)),
        ("history", sweep.history(points, title="held-out loss", maximise=False)),
    ):
        assert valid(figure)
        assert overlapping(figure) == []
        sweep.png(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_plot_is_the_same_text() -> None:
    first, second = (sweep.svg(parallel(some(4), title="loss", maximise=False)) for _ in range(2))
    assert first == second


def test_a_training_that_ran_away_does_not_press_the_others_together() -> None:
    scale = sweep.spread([1.0, 1.1, 1.2, 1.3, 1.4, 4000.0], maximise=False)
    assert (scale.low, scale.high < 3) == (1.0, True)
    assert sweep.spread([-4000.0, 0.5, 0.6, 0.7, 0.8, 0.9], maximise=True).low > -3


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1e-3, 2e-3, 4e-3], ["0.001", "0.002", "0.004"]),
        ([8, 16, 32], ["8", "16", "32"]),
        ([1e-5, 1e-2, 1e-3, 2e-4, 3e-3, 4e-4, 5e-4], ["1e-05", "3e-05", "0.0001", "0.0003", "0.001", "0.003", "0.01"]),
        (["b", "a", None, True], ["a", "b", "null", "true"]),
        ([0.00521, 0.00518, 0.018], ["0.00518", "0.018"]),
    ],
)
def test_an_axis_is_marked_with_round_numbers_that_have_room(values: list[object], labels: list[str]) -> None:
    assert [label for _, label in scales.of(values).labels()] == labels


def test_importance_needs_enough_trials_and_differences() -> None:
    varied = [({"train.learning_rate": rate, "seed": seed}, rate * 100 + seed / 1000)
              for seed, rate in enumerate([1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3][::-1])]  # fmt: skip
    alike = [({"seed": seed}, 1.0) for seed in range(9)]
    assert importances(varied[:3]) == ({}, "too few trials: 3 of the 6 that it takes")
    assert importances(alike) == ({}, "all trials came out alike")
    assert importances([({"seed": 1}, 2.0)] * 9) == ({}, "no key has two values")
    shares, why_not = importances([({"rate": 10.0**-power, "same": 1, "kind": "ab"[power % 2]}, float(power))
                                   for power in range(1, 10)])  # fmt: skip
    assert why_not == ""
    assert list(shares) == ["rate", "kind"]
    assert sum(shares.values()) == pytest.approx(1)
    assert valid(sweep.importance(shares, why_not=""))
    assert valid(sweep.importance({}, why_not="too few trials: 3 of the 6 that it takes"))
