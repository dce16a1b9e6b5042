"""How near a plan comes to what then happens: `python -m benchmarks.plan [--json FILE]`.

Every configuration is planned, then really trained for a few steps by the train stage in a process of its own, whose
largest resident set the system tells when it ends. Memory does not depend on what else the machine does; time does, so
the second run of a command is compared with the first one's figures right after it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import corpus
from phi_runner.config.schema import StageName
from phi_runner.plan.bands import Band, Estimates

_TEXT_BYTES = 3_000_000
_ROWS = 60
_GIB = 2**30
_SIZES = {
    "small": "hidden_size=256 intermediate_size=704 layers=4 heads=4 vocab_size=4096",
    "medium": "hidden_size=384 intermediate_size=1056 layers=6 heads=6 vocab_size=8192",
}
"""4 and 14 million weights; the vocabulary makes the loss a part that shows."""
_METHODS = ("full", "lora")
_ROWS_OF = ((256, "never"), (768, "never"), (768, "always"))
"""Context and gradient checkpointing."""
_STEPS, _TIMED_STEPS = 2, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One configuration."""

    size: str
    method: str
    context: int
    checkpointing: str
    steps: int = _STEPS
    seed: int = 0

    @property
    def name(self) -> str:
        """Name it in a table."""
        again = ", checkpointing" if self.checkpointing == "always" else ""
        return f"{self.size}, {self.method}, {self.context}{again}"

    def overrides(self, *, folder: Path) -> list[str]:
        """Return what is typed."""
        return [
            "stages=[data,train]", "data=jsonl", f"data.train_file={_chats(folder)}", "data.eval_fraction=0.1",
            *(f"model.{setting}" for setting in _SIZES[self.size].split()), f"train={self.method}",
            "train.packing=true", f"train.max_length={self.context}", "train.batch_size=2", "train.eval_batch_size=2",
            f"train.gradient_checkpointing={self.checkpointing}", f"+train.extra.max_steps={self.steps}",
            f"seed={self.seed}", f"outputs={folder / 'outputs'}",
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a training process did."""

    peak_gib: float
    seconds: float
    """Of the train stage."""
    measured: dict[str, Any]


def cases() -> list[Case]:
    """Return two sizes and methods, each with short rows, with long ones, and with long ones and checkpointing."""
    return [
        Case(size=size, method=method, context=context, checkpointing=again)
        for size, method, (context, again) in product(_SIZES, _METHODS, _ROWS_OF)
    ]


def _chats(folder: Path) -> Path:
    return corpus.chats(_ROWS, folder=folder / "made", text_bytes=_TEXT_BYTES)


def train(case: Case, *, folder: Path) -> Seen:
    """Train in a process of its own; raises RuntimeError with what it said when it fails."""
    command = [sys.executable, "-m", "phi_runner", *case.overrides(folder=folder), "force=[train]"]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{case.name}: {log.read_text(encoding='utf-8')[-2000:]}")
    run = max((folder / "outputs" / "runs").iterdir(), key=lambda place: place.stat().st_mtime)
    result = run / "results" / "train"
    manifest = json.loads((result / "manifest.json").read_text(encoding="utf-8"))
    return Seen(
        peak_gib=usage.ru_maxrss * 1024 / _GIB, seconds=manifest["seconds"],
        measured=json.loads((result / "measured.json").read_text(encoding="utf-8")),
    )  # fmt: skip


def planned(case: Case, *, folder: Path, store: Path) -> Estimates:
    """Return what the plan says before the case is trained; `store` holds what was trained before."""
    from phi_runner.config import hydra
    from phi_runner.config.composed import task
    from phi_runner.config.load import load
    from phi_runner.plan.estimate import estimate
    from phi_runner.store import Store

    hydra.register()
    config = load(task(hydra.compose(case.overrides(folder=folder), extra=None)))
    kept = Store(store)
    data = {manifest.key for manifest in kept.manifests("data")}
    keys = {StageName.data: data.pop()} if len(data) == 1 else {}
    return estimate(config, store=kept, keys=keys, reused={StageName.data}, dataset=None)


def memory(seen: list[tuple[Case, Seen]], *, folder: Path) -> list[dict[str, Any]]:
    """Return the planned and the real peak of each case, planned from an empty store."""
    rows = []
    for case, real in seen:
        (peak,) = planned(case, folder=folder, store=folder / "nothing").memory
        band = peak.per_process
        assert isinstance(band, Band)
        rows.append(
            {
                "name": case.name, "planned_gib": band.likely, "low_gib": band.low, "high_gib": band.high,
                "measured_gib": real.peak_gib, "inside": band.low <= real.peak_gib <= band.high,
                "error": band.likely / real.peak_gib - 1,
                "parts": {part.what: part.gib for part in peak.parts},
            }
        )  # fmt: skip
    return rows


def times(*, folder: Path, limit_s: float) -> list[dict[str, Any]]:
    """Train each of some cases twice; the second run is planned from what the first one left."""
    rows, ends = [], time.perf_counter() + limit_s
    for size, method in product(_SIZES, _METHODS):
        if time.perf_counter() > ends:
            break
        first = Case(size=size, method=method, context=256, checkpointing="never", steps=_TIMED_STEPS)
        place = folder / f"timed-{size}-{method}"
        train(first, folder=place)
        hours = planned(first, folder=place, store=place / "outputs" / "store").hours[StageName.train]
        assert isinstance(hours, Band)
        second = train(replace(first, seed=1), folder=place)
        planned_s = hours.likely * 3600
        rows.append(
            {
                "name": f"{first.name}, {_TIMED_STEPS} steps", "planned_s": planned_s, "measured_s": second.seconds,
                "inside": hours.low * 3600 <= second.seconds <= hours.high * 3600,
                "error": planned_s / second.seconds - 1, "source": hours.source,
            }
        )  # fmt: skip
    return rows


def _say(title: str, rows: list[dict[str, Any]], *, unit: str) -> None:
    if not rows:
        return
    width = max(len(row["name"]) for row in rows)
    print(f"{title}\n{'':{width}}  planned measured   error  inside the band")
    for row in rows:
        figures = f"{row[f'planned_{unit}']:8.2f} {row[f'measured_{unit}']:8.2f} {row['error']:+7.1%}"
        print(f"{row['name']:{width}} {figures}  {'yes' if row['inside'] else 'NO'}")
    errors = [abs(row["error"]) for row in rows]
    inside = sum(row["inside"] for row in rows)
    print(f"median error {statistics.median(errors):.1%}, worst {max(errors):.1%}, inside {inside} of {len(rows)}\n")


def _above_libraries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same without the constant share, which would make any estimate of small models look good."""
    found = []
    for row in rows:
        constant = row["parts"]["libraries"]
        planned_gib, measured_gib = row["planned_gib"] - constant, row["measured_gib"] - constant
        found.append(
            row | {"planned_gib": planned_gib, "measured_gib": measured_gib, "error": planned_gib / measured_gib - 1}
        )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "phi_runner_bench" / "plan")
    parser.add_argument("--seen", type=Path, metavar="FILE", help="plan again what an earlier --json measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name contains it")
    parser.add_argument("--no-times", action="store_true", help="memory alone")
    parser.add_argument("--limit", type=float, default=240.0, metavar="S", help="begin no timed case after so long")
    return parser.parse_args()


def main() -> None:
    """Measure, plan, and print both side by side."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.seen:
        told = json.loads(options.seen.read_text(encoding="utf-8"))["seen"]
        seen = [(Case(**row["case"]), Seen(**row["seen"])) for row in told]
    else:
        chosen = [case for case in cases() if options.only in case.name]
        seen = [(case, train(case, folder=options.folder)) for case in chosen]
    peaks = memory(seen, folder=options.folder)
    _say("memory of the training process, GiB", peaks, unit="gib")
    _say("the same above the libraries' constant", _above_libraries(peaks), unit="gib")
    timed = [] if options.no_times or options.seen else times(folder=options.folder, limit_s=options.limit)
    _say("time of the train stage in a second run, s", timed, unit="s")
    if options.json:
        kept = [{"case": asdict(case), "seen": asdict(real)} for case, real in seen]
        text = json.dumps({"memory": peaks, "times": timed, "seen": kept}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
