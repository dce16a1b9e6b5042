"""Does speed change what is learnt: the losses of phi_runner and of plain TRL on the same rows, seed by seed.

TRL is given the rows that phi_runner has packed: what fills a row differs between the two, and so would the loss.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Measured
from benchmarks.peers import Peer
from benchmarks.peers.ours import OURS
from benchmarks.peers.trl_alone import PLAIN
from benchmarks.table import Figure
from benchmarks.tasks import Task

_LAST = 5
"""Steps whose mean is called the final loss: a single batch's swings more than a method's."""


def compare(task: Task, *, seeds: int, run: Callable[[Peer, Task], Measured]) -> list[Figure]:
    """Train both on one task with each seed; return their final losses and how far apart their steps are."""
    plain, ours, apart, notes = [], [], [], []
    for seed in range(seeds):
        seeded = replace(task, seed=seed)
        end = run(OURS, seeded)
        other = run(PLAIN, replace(seeded, packed=_packed(seeded.folder)))
        if not (end.losses and other.losses):
            notes += [one.note for one in (end, other) if not one.losses]
            continue
        plain.append(_final(other))
        ours.append(_final(end))
        apart.append(max(abs(a - b) for a, b in zip(end.losses, other.losses, strict=False)))
        notes.append("the same rows in every step" if end.tokens == other.tokens else "NOT the same rows in every step")
    seen = f"{seeds} seeds, {task.steps} steps; " + "; ".join(dict.fromkeys(notes))
    unit = f"loss, {task.size}"
    return [
        Figure(name="final loss, TRL plain", values=plain, unit=unit, note=seen),
        Figure(name="final loss, phi_runner", values=ours, unit=unit, ratio_to="final loss, TRL plain"),
        Figure(name="largest difference of one step", values=apart, unit=unit),
    ]


def _packed(folder: Path) -> tuple[Path, ...]:
    """Return the packed rows that phi_runner has left under `folder`: of those for training and testing, the larger."""
    found = sorted(folder.rglob("packed*.arrow"))
    sizes = {file.parent: sum(part.stat().st_size for part in found if part.parent == file.parent) for file in found}
    largest = max(sizes, key=lambda place: sizes[place], default=None)
    return tuple(file for file in found if file.parent == largest)


def _final(end: Measured) -> float:
    return statistics.mean(end.losses[-_LAST:])
