"""Does speed change what is learnt: the losses of phi_runner and of plain TRL on the same tokens, seed by seed."""

import statistics
from collections.abc import Callable
from dataclasses import replace

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
        ends = [run(peer, seeded) for peer in (PLAIN, OURS)]
        if not all(end.losses for end in ends):
            notes += [end.note for end in ends if not end.losses]
            continue
        plain.append(_final(ends[0]))
        ours.append(_final(ends[1]))
        apart.append(max(abs(a - b) for a, b in zip(ends[0].losses, ends[1].losses, strict=False)))
        notes.append("the same batches" if ends[0].tokens == ends[1].tokens else "batches filled differently")
    seen = f"{seeds} seeds, {task.steps} steps; " + "; ".join(dict.fromkeys(notes))
    unit = f"loss, {task.size}"
    return [
        Figure(name="final loss, TRL plain", values=plain, unit=unit, note=seen),
        Figure(name="final loss, phi_runner", values=ours, unit=unit, ratio_to="final loss, TRL plain"),
        Figure(name="largest difference of one step", values=apart, unit=unit),
    ]


def _final(end: Measured) -> float:
    return statistics.mean(end.losses[-_LAST:])
