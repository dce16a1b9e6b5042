"""A data set that stays at its source: its beginning is read, checked and held out in part, the rest is left alone."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import FileData, HubData, RowFormat
from phi_runner.config.take import parse_take
from phi_runner.data import open_sources
from phi_runner.data.files import local_path
from phi_runner.data.identity import ends
from phi_runner.data.inspect import Inspected, format_of, nothing_left, tell
from phi_runner.data.rows import Row, Source
from phi_runner.data.split import digest
from phi_runner.data.write import write_rows
from phi_runner.errors import DataProblem
from phi_runner.events import StageEvents

REPORT_FILE = "report.json"
_HASHES = 2.0**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What was read of a source: the rows to hold out, by their hash, and how many others there are to learn from."""

    held_out: dict[bytes, Row]
    others: int
    inspected: dict[str, Inspected]


def prepare(config: FileData | HubData, *, seed: int, folder: Path, events: StageEvents) -> Dataset:
    """Hold rows out of the beginning of a source and write them, and where the others are to be read from.

    Which of the rows are held out follows from their own text. Raises DataProblem when the rows do not allow it.
    """
    config = _pinned(config)
    begun = _begin(config, seed=seed, events=events)
    found = begun.inspected["train"]
    rows = [row for _hash, row in sorted(begun.held_out.items())]
    written = write_rows(rows, arrow=folder / "test.arrow", jsonl=folder / "test_data.jsonl")
    told = json.dumps(source_of(config, spelled=found.format), indent=1, ensure_ascii=False) + "\n"
    dataset = Dataset(
        folder=folder, train_rows=0, test_rows=len(rows), dropped_rows=sum(map(_dropped, begun.inspected.values())),
        source=found.source, format=found.format, streamed=True,
        content_hash=hashlib.sha256(f"{hashlib.sha256(told.encode()).hexdigest()}\n{written}".encode()).hexdigest(),
    )  # fmt: skip
    dataset.source_file.write_text(told, encoding="utf-8")
    report = json.dumps(_report(begun, dataset=dataset), indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(report + "\n", encoding="utf-8")
    events.info(
        f"holds out {len(rows)} of the first {found.taken} rows of {found.source}; the others are read while training",
        test_rows=len(rows),
    )
    return dataset


def source_of(config: FileData | HubData, *, spelled: RowFormat) -> dict[str, Any]:
    """Return what is needed to read the same rows again, as JSON knows it."""
    told: dict[str, Any] = {"kind": config.kind, "format": str(spelled), "take": config.take}
    if isinstance(config, FileData):
        file = local_path(config.train_file).absolute()
        return told | {"train_file": str(file), "ends": ends(file)}
    return told | {
        "repo": config.repo, "subset": config.subset, "split": config.split, "revision": config.revision,
    }  # fmt: skip


def usable(source: Source, *, most: int | None, found: Inspected) -> Iterator[Row]:
    """Yield the rows of a source that can be learned from, up to its row `most`, and count them and the others."""
    for record in source.read():
        if found.taken == most:
            return
        found.taken += 1
        found.add(record)
        while found.rows:
            yield found.rows.pop()  # type: ignore[union-attr]  # a list: nothing is kept


def counted(source: Source, *, spelled: RowFormat) -> Inspected:
    """Return an empty count for the rows of a source."""
    return Inspected(source=source.name, total=0, taken=0, format=spelled)


def most_rows(take: str) -> int | None:
    """Return the number of rows that `data.take` allows; None: all there are."""
    parsed = parse_take(take)
    return None if parsed.is_share else int(parsed.amount)


def _pinned(config: FileData | HubData) -> FileData | HubData:
    """Name the commit that a revision of the hub means now: the rows that training reads later are the same."""
    if isinstance(config, FileData):
        return config
    from phi_runner.data.hub import pinned

    return pinned(config)


def _begin(config: FileData | HubData, *, seed: int, events: StageEvents) -> Beginning:
    sources = open_sources(config)
    spelled = format_of(sources.train, spelling=sources.format, events=events)
    found = counted(sources.train, spelled=spelled)
    rows = usable(sources.train, most=most_rows(config.take), found=found)
    if sources.test is None:
        begun = _divide(rows, found=found, config=config, seed=seed)
    else:
        spelled = format_of(sources.test, spelling=sources.format, events=events)
        measured = counted(sources.test, spelled=spelled)
        begun = _named(rows, found, sources.test, measured, config=config, seed=seed)
    for side in begun.inspected.values():
        tell(side, events=events)
    if not begun.others:
        raise DataProblem(
            f"{found.source}: all of its {found.taken} rows are held out or cannot be used, and none is left to learn "
            "from: type data.stream=false"
        )
    return begun


def _divide(rows: Iterator[Row], *, found: Inspected, config: FileData | HubData, seed: int) -> Beginning:
    """Hold out rows whose hash lies in the lowest `eval_fraction` of all hashes, until there are enough."""
    held: dict[bytes, Row] = {}
    others = 0
    for row in rows:
        own = digest(row, seed=seed)
        if int.from_bytes(own[:8], "big") / _HASHES >= config.eval_fraction:
            others += 1
        else:
            held[own] = row
        if len(held) >= config.stream_eval_rows and others:
            break
    if not held and not others:
        raise DataProblem(nothing_left(found))
    if not held:
        raise DataProblem(
            f"none of the {others} rows of {found.source} falls into data.eval_fraction={config.eval_fraction:g}: "
            "type data.eval_fraction=0.5, or data.stream=false for a source as small as this"
        )
    return Beginning(held_out=held, others=others, inspected={"train": found})


def _named(
    rows: Iterator[Row], found: Inspected, test: Source, measured: Inspected, *, config: FileData | HubData, seed: int
) -> Beginning:
    """Hold out the first rows of the source that is named for it, and look at as many of the one to learn from."""
    held: dict[bytes, Row] = {}
    for row in usable(test, most=most_rows(config.take), found=measured):
        held[digest(row, seed=seed)] = row
        if len(held) >= config.stream_eval_rows:
            break
    if not held:
        raise DataProblem(nothing_left(measured))
    others = 0
    for row in rows:
        others += digest(row, seed=seed) not in held
        if others >= config.stream_eval_rows:
            break
    if not others and not found.rows and not found.taken - _dropped(found):
        raise DataProblem(nothing_left(found))
    return Beginning(held_out=held, others=others, inspected={"train": found, "test": measured})


def _dropped(found: Inspected) -> int:
    return sum(reason.count for reason in found.dropped.values())


def _report(begun: Beginning, *, dataset: Dataset) -> dict[str, object]:
    return {
        "streamed": True, "test_rows": dataset.test_rows, "content_hash": dataset.content_hash,
        "sources": {
            side: {
                "source": found.source, "format": found.format, "looked_at": found.taken,
                "dropped": {reason: asdict(dropped) for reason, dropped in found.dropped.items()},
                "repaired": dict(found.repairs),
            }
            for side, found in begun.inspected.items()
        },
    }  # fmt: skip
