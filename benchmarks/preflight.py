"""How well the data check finds planted defects, and how fast: `python -m benchmarks.preflight [--quick] [--rows N]`.

The first table is recall and precision by kind, on a corpus of planted defects among ordinary rows and clean ones that
look defective. The second is speed and peak memory on a file of N rows, each step in a process of its own.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.defects import Corpus, corpus, lines
from benchmarks.table import Figure, show
from phi_runner.artifacts import Dataset, load, save
from phi_runner.config.schema import (
    CpuCompute,
    FileData,
    FullTrain,
    NanoModel,
    NoDeploy,
    NoFlow,
    PreflightConfig,
    RunConfig,
    StageName,
)
from phi_runner.data import beginning
from phi_runner.data.prepare import prepare
from phi_runner.events import Events, StageEvents
from phi_runner.preflight.reading import Reading
from phi_runner.preflight.result import Scan
from phi_runner.preflight.scan import scan

_QUICK_ROWS, _FULL_ROWS = 20_000, 1_000_000
_PLACE = re.compile(r"(train|test)\.jsonl:(\d+)")
_SILENT = StageEvents(Events(), "data")


def measured(made: Corpus, *, folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return of each kind how many rows were planted, how many of these were found, and how many others as well."""
    train, test = made.write(folder)
    config = run_config(FileData(train_file=str(train), eval_file=str(test)))
    found = {one.kind: one for one in scanned(config, folder=folder, examples=10**6).findings}
    table = {}
    for kind, planted in made.planted.items():
        rows = set()
        for example in found[kind].examples:
            rows |= {":".join(match) for match in _PLACE.findall(example.place)}
            if kind in ("near_duplicates", "conflicting_answers"):  # both rows of a pair are meant
                rows |= {":".join(match) for match in _PLACE.findall(example.other_place)}
        if kind in _SECOND:  # the first of two is the original, the finding is the other one
            rows = {":".join(m) for example in found[kind].examples for m in _PLACE.findall(example.other_place)}
        table[kind] = (len(planted), len(planted & rows), len(rows - planted))
    return table


_SECOND = ("exact_duplicates", "leakage", "shared_questions")


def run_config(data: FileData, *, examples: int = 5) -> RunConfig:
    """Return a run of the data stage with the default model."""
    train = FullTrain(
        learning_rate=1e-3, epochs=1, batch_size=8, eval_batch_size=8, warmup_ratio=0.1, weight_decay=0.0,
        adam_beta2=0.95, packing=True, log_steps=5, save_steps=100,
    )  # fmt: skip
    return RunConfig(
        data=data, model=NanoModel(), train=train, compute=CpuCompute(), deploy=NoDeploy(), flow=NoFlow(),
        stages=[StageName.data], preflight=PreflightConfig(examples=examples),
    )  # fmt: skip


def scanned(config: RunConfig, *, folder: Path, examples: int) -> Scan:
    """Prepare the data set in a folder and return what its check finds."""
    dataset = prepare(config.data, seed=0, folder=folder, events=_SILENT)
    reading = Reading(config=config, dataset=dataset, most=config.preflight.rows)
    return scan(reading, folder=folder, most=examples, on_rows=lambda _rows: None)


def _step(name: str, folder: Path) -> None:
    """Do one step on a folder and print what it took; called in a process of its own."""
    streamed = name.startswith("streamed")
    config = run_config(FileData(train_file=str(folder / "rows.jsonl"), stream=streamed))
    result = folder / ("streamed" if streamed else "data")
    result.mkdir(exist_ok=True)
    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    said = ""
    if name in ("prepare", "streamed_prepare"):
        make = beginning.prepare if streamed else prepare
        save(make(config.data, seed=0, folder=result, events=_SILENT))
    elif name in ("scan", "streamed_scan"):
        reading = Reading(config=config, dataset=load(Dataset, folder=result), most=config.preflight.rows)
        found = scan(reading, folder=folder, most=5, on_rows=lambda _rows: None)
        said = ", ".join(f"{one.kind} {one.count}" for one in found.findings if one.count)
    else:
        from phi_runner.preflight.token_count import count

        said = f"{count(config, load(Dataset, folder=result)).counted} rows tokenised"
    seconds = time.perf_counter() - begun
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "before_mib": before / 2**20, "said": said}))


def _speed(rows: int, *, folder: Path) -> list[Figure]:
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(lines(rows=rows))
    size = (folder / "rows.jsonl").stat().st_size / 2**20
    figures = []
    for name in ("prepare", "scan", "tokens", "streamed_prepare", "streamed_scan"):
        command = [sys.executable, "-m", "benchmarks.preflight", "--step", name, "--folder", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
        label = f"{name}, {rows:,} rows of {size:,.0f} MiB"
        figures += [
            Figure(name=label, values=[told["seconds"]], unit="s", note=told["said"][:200]),
            Figure(name=label, values=[told["peak_mib"]], unit="MiB at most", note=f"{told['before_mib']:.0f} before"),
        ]
        if name.endswith("scan"):
            figures.append(Figure(name=label, values=[rows / told["seconds"]], unit="rows/s"))
    return figures


def _quality(seeds: int) -> list[Figure]:
    totals: dict[str, list[tuple[int, int, int]]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            for kind, row in measured(corpus(seed=seed), folder=Path(folder)).items():
                totals.setdefault(kind, []).append(row)
    figures = []
    for kind, rows in totals.items():
        planted, hits, wrong = (sum(column) for column in zip(*rows, strict=True))
        told = f"{planted} planted, {hits} found, {wrong} wrong"
        figures.append(Figure(name=kind, values=[100 * hits / planted], unit="% recall", note=told))
        figures.append(Figure(name=kind, values=[100 * hits / max(1, hits + wrong)], unit="% precision", note=told))
    return figures


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROWS} rows and one corpus")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=0, help="planted corpora")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--step", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help="where the rows are written; needs room for them")
    options = parser.parse_args()
    if options.step:
        return _step(options.step, options.folder)
    figures = _quality(options.seeds or (1 if options.quick else 5))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures += _speed(options.rows or (_QUICK_ROWS if options.quick else _FULL_ROWS), folder=Path(folder))
    show(figures, title="data check", file=options.json)
    return None


if __name__ == "__main__":
    main()
