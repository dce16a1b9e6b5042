"""From the config to a data set on disk: open, take, check, hold out, write, report."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import DataConfig, RowFormat
from phi_runner.config.take import parse_take
from phi_runner.data import Sources, open_sources
from phi_runner.data.inspect import Inspected, inspect
from phi_runner.data.split import Split, hold_out, keep_apart
from phi_runner.data.spool import Spool
from phi_runner.data.write import write_rows
from phi_runner.errors import DataProblem
from phi_runner.events import StageEvents

REPORT_FILE = "report.json"


def prepare(config: DataConfig, *, seed: int, folder: Path, events: StageEvents) -> Dataset:
    """Make the data set that the config asks for in `folder`; raises DataProblem when the rows do not allow it.

    The bytes depend on the rows, the seed and the fraction, not on the order or the format of the source.
    """
    spools = [Spool(folder / f".{side}.rows") for side in ("train", "test")]
    try:
        inspected, split = _read(config, sources=open_sources(config), seed=seed, events=events, spools=spools)
        _tell(split, events=events)
        dataset = _write(split, inspected=inspected, folder=folder)
    finally:
        for spool in spools:
            spool.close()
    report = _report(inspected, split=split, dataset=dataset)
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return dataset


def _read(
    config: DataConfig, *, sources: Sources, seed: int, events: StageEvents, spools: list[Spool]
) -> tuple[dict[str, Inspected], Split]:
    """Return what was read from each source, by the side it is for, and the divided rows."""
    take = parse_take(config.take)
    train = inspect(sources.train, take=take, spelling=sources.format, events=events, spool=spools[0])
    if sources.test is None:
        return {"train": train}, hold_out(train.rows, fraction=config.eval_fraction, seed=seed)
    test = inspect(sources.test, take=take, spelling=sources.format, events=events, spool=spools[1])
    if (train.format is RowFormat.preference) is not (test.format is RowFormat.preference):
        raise DataProblem(
            f"{train.source} holds rows of format {train.format} and {test.source} of {test.format}: "
            "name held-out rows that are pairs of answers where the others are, and dialogues where they are not"
        )
    return {"train": train, "test": test}, keep_apart(train.rows, test=test.rows, seed=seed)


def _tell(split: Split, *, events: StageEvents) -> None:
    if split.duplicates:
        events.info(f"{split.duplicates} rows are exact duplicates: each dialogue is kept once", rows=split.duplicates)
    if split.leaked:
        events.warn(f"{split.leaked} held-out rows are also rows to learn from: not held out", rows=split.leaked)
    train, test = len(split.train), len(split.test)
    events.info(f"train {train} rows, test {test} rows", train_rows=train, test_rows=test)


def _write(split: Split, *, inspected: Mapping[str, Inspected], folder: Path) -> Dataset:
    train = write_rows(split.train, arrow=folder / "train.arrow", jsonl=folder / "train_data.jsonl")
    test = write_rows(split.test, arrow=folder / "test.arrow", jsonl=folder / "test_data.jsonl")
    return Dataset(
        folder=folder,
        train_rows=len(split.train),
        test_rows=len(split.test),
        dropped_rows=sum(side.dropped_rows for side in inspected.values()),
        source=inspected["train"].source,
        format=inspected["train"].format,
        content_hash=hashlib.sha256(f"{train}\n{test}".encode()).hexdigest(),
    )


def _report(inspected: Mapping[str, Inspected], *, split: Split, dataset: Dataset) -> dict[str, object]:
    return {
        "train_rows": dataset.train_rows,
        "test_rows": dataset.test_rows,
        "duplicates": split.duplicates,
        "leaked": split.leaked,
        "content_hash": dataset.content_hash,
        "sources": {side: _source_report(found) for side, found in inspected.items()},
    }


def _source_report(found: Inspected) -> dict[str, object]:
    return {
        "source": found.source,
        "format": found.format,
        "rows": found.total,
        "taken": found.taken,
        "usable": len(found.rows),
        "dropped": {reason: asdict(dropped) for reason, dropped in found.dropped.items()},
        "repaired": dict(found.repairs),
    }
