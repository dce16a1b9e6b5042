"""How fast models are trained, by us and by others: `python -m benchmarks.train [--quick] [--json FILE]`.

Every variant runs in a process of its own, in turn, round by round, so that a machine whose speed drifts slows all of
them alike. Steps are timed from the second on. docs/benchmarks.md says how to read the tables.
"""

import argparse
import os
import re
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import corpus, losses, measure, peak, tasks
from benchmarks.figures import figures
from benchmarks.peers import Peer, axolotl, litgpt, llama_factory, ours, trl_alone, trl_cli
from benchmarks.table import Figure, show
from benchmarks.tasks import Task

_QUICK_S = 14 * 60
_LOSSES_S = 150
"""Of a quick run, kept for the comparison of losses."""
_FIRST_SHARE = 0.6
"""What a size may take of the time that is left for it and the next one."""
_INSTALL_S = 1800.0
_FAST_BF16 = 1.2
"""bf16 counts as fast where its matrices are multiplied this much faster than fp32's."""
_CHARACTERS_A_TOKEN = 2.7
"""Less than any dialogue has here: one with fewer characters a token of the context is never cut."""


def _peers(*, precision: str, device: str, only: list[str]) -> list[Peer]:
    """Return whom to run, the most telling first; where bf16 is slow, the others also in fp32."""
    asked = [trl_alone.TUTORIAL, trl_alone.DEFAULTS]
    others = [llama_factory.PEER, litgpt.PEER, trl_cli.PEER, axolotl.PEER]
    if device == "cuda":  # the others' environments hold a torch for processors
        found = [ours.OURS, *asked, ours.LORA, trl_alone.DEFAULTS_LORA]
    elif precision == "fp32":
        found = [ours.OURS, trl_alone.TUTORIAL_FP32, trl_alone.DEFAULTS_HERE, *others, *asked]
    else:
        found = [ours.OURS, *asked, *others]
    return [peer for peer in found if not only or any(word in peer.name.lower() for word in only)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, two steps, under 15 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", default="", metavar="NAME,...", help="variants whose name contains one of these")
    parser.add_argument("--sizes", default="", help=f"some of {','.join(tasks.SIZES)}")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps of a run, the first not timed")
    parser.add_argument("--limit", type=float, default=0, metavar="S", help="longest time of one run")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--context", type=int, default=2048, help="tokens of a packed row")
    parser.add_argument("--seeds", type=int, default=2, help="of the comparison of losses; 0: none")
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "phi_runner_bench")
    found = parser.parse_args()
    found.rounds = found.rounds or (1 if found.quick else 3)
    found.steps = found.steps or (2 if found.quick else 4)
    found.limit = found.limit or (240 if found.quick else 900)
    found.sizes = (found.sizes or ("phi3_mini" if found.device == "cuda" else "small,nano")).split(",")
    found.only = [word.strip().lower() for word in found.only.split(",") if word.strip()]
    return found


class Bench:
    """One run of the benchmark: its options, its deadline, and where its files are."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._made = options.venvs / "made"
        self._ends_at = time.perf_counter() + (_QUICK_S if options.quick else float("inf"))
        self._peaks: dict[str, list[float]] = defaultdict(list)

    def run(self) -> list[Figure]:
        """Measure all sizes, then the losses."""
        options, found = self._options, []
        compared = options.seeds and options.device == "cpu" and "nano" in options.sizes
        self._peak()
        for position, size in enumerate(options.sizes):
            left_s = self._ends_at - time.perf_counter() - (_LOSSES_S if compared else 0)
            others = len(options.sizes) - position - 1
            share_s = left_s * _FIRST_SHARE if others else left_s
            found += self._size(size, ends_at=time.perf_counter() + share_s)
        return found + self._losses() if compared else found

    def _peak(self) -> None:
        for name, value in peak.measure(self._options.device).items():
            self._peaks[name].append(value)

    def _precision(self) -> str:
        return "bf16" if max(self._peaks["bf16"]) > _FAST_BF16 * max(self._peaks["fp32"]) else "fp32"

    def _task(self, size: str) -> Task:
        options = self._options
        rows = corpus.chats(2000 if options.device == "cuda" else 200, folder=self._made)
        return Task(
            size=size, model=tasks.model(size, folder=self._made), dialogues=rows,
            held_out=corpus.chats(8, folder=self._made, seed=1), context=options.context, steps=options.steps,
            precision=self._precision(), device=options.device, folder=self._made / "runs" / size,
        )  # fmt: skip

    def _once(self, peer: Peer, task: Task, *, ends_at: float = float("inf")) -> measure.Measured:
        quick, limit_s = self._options.quick, min(self._options.limit, ends_at - time.perf_counter())
        folder = task.folder / re.sub(r"\W+", "_", peer.name)  # a comma would mean a sweep on our command line
        print(f"{task.size}: {peer.name} ({peer.about}) ...", flush=True)
        found = measure.measure(
            peer, replace(task, folder=folder), venvs=self._options.venvs, limit_s=limit_s,
            install_s=0 if quick else _INSTALL_S,
        )  # fmt: skip
        print(f"    {f'{found.rate:.1f} tokens/s' if found.rate else ''} {found.note}", flush=True)
        return found

    def _size(self, size: str, *, ends_at: float) -> list[Figure]:
        task = self._task(size)
        chosen = _peers(precision=task.precision, device=task.device, only=self._options.only)
        results: dict[str, list[measure.Measured]] = {peer.name: [] for peer in chosen}
        for number in range(self._options.rounds):
            for peer in chosen:
                once = (peer.slow_bf16 and task.precision == "fp32") or not _runs(results[peer.name])
                if number == 0 or not once:
                    results[peer.name].append(self._once(peer, task, ends_at=ends_at))
            self._peak()
        return figures(task, results, peaks=self._peaks)

    def _losses(self) -> list[Figure]:
        task = self._task("nano")
        whole = tasks.short(task.dialogues, characters=int(_CHARACTERS_A_TOKEN * task.context))
        steps = 6 if self._options.quick else 40
        task = replace(task, dialogues=whole, steps=steps, folder=task.folder / "losses")
        return losses.compare(task, seeds=self._options.seeds, run=partial(self._once, ends_at=self._ends_at))


def _runs(results: list[measure.Measured]) -> bool:
    return not results or results[-1].rate is not None


def main() -> None:
    """Measure and print."""
    options = _options()
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    title = f"context {options.context}, batch 4, {options.rounds} rounds"
    show(Bench(options).run(), title=title, file=options.json)


if __name__ == "__main__":
    main()
