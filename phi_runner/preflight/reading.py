"""The rows of the source once more, usable or not, each with the place where a person finds it."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import HubData, RowFormat, RunConfig
from phi_runner.config.streaming import streams
from phi_runner.config.take import parse_take
from phi_runner.data import Sources, open_sources
from phi_runner.data.beginning import most_rows
from phi_runner.data.check import check
from phi_runner.data.formats import detect, turns_of
from phi_runner.data.json_files import jsonl_source
from phi_runner.data.preference import check_pair
from phi_runner.data.rows import Row, Source, Unusable, json_line
from phi_runner.errors import DataProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One row: what it is, or why it cannot be used."""

    place: str
    held_out: bool
    row: Row | None = None
    digest: int = 0
    """Of the row's own text: rows of the same digest are the same, word for word."""
    why: str = ""
    fields: str = ""
    """The row as its source spells it, where it cannot be used."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """The rows that the data stage looked at; iterate over it once."""

    config: RunConfig
    dataset: Dataset
    most: int
    formats: dict[str, str] = field(default_factory=dict)
    """Of each source: its format, and why it is taken for that."""

    def __iter__(self) -> Iterator[Seen]:
        sources = _sources(self.config, self.dataset)
        known = frozenset() if sources.test else self._held_out()
        left = self.most
        for source, test in ((sources.train, False), (sources.test, True)):
            if source is not None:
                for seen in islice(self._rows(source, sources.format, test=test, known=known), left):
                    left -= 1
                    yield seen

    def _rows(self, source: Source, format_: RowFormat, *, test: bool, known: frozenset[int]) -> Iterator[Seen]:
        spelling = format_
        for number, record in enumerate(islice(source.read(), self._taken(source))):
            if number == 0:
                spelling = self._spelled(source, format_, fields=record.fields)
            try:
                row = _checked(record.fields, spelling=spelling)
            except Unusable as err:
                yield Seen(place=record.place, held_out=test, why=str(err), fields=str(dict(record.fields))[:2000])
                continue
            own = digest(json_line(row))
            yield Seen(place=record.place, held_out=test or own in known, row=row, digest=own)

    def _taken(self, source: Source) -> int | None:
        if streams(self.config.data):
            return most_rows(self.config.data.take)
        return parse_take(self.config.data.take).rows(source.total())

    def _spelled(self, source: Source, format_: RowFormat, *, fields: Mapping[str, object]) -> RowFormat:
        found = detect(fields) if format_ is RowFormat.auto else format_
        why = f"the first row has the fields {', '.join(fields)}"
        if format_ is not RowFormat.auto:
            why = (
                f"data.format={format_} says so" if hasattr(self.config.data, "format") else "it is the shipped sample"
            )
        self.formats[source.name] = f"{found}: {why}"
        return found or RowFormat.messages

    def _held_out(self) -> frozenset[int]:
        with self.dataset.test_jsonl.open(encoding="utf-8") as lines:
            return frozenset(digest(line.rstrip("\n")) for line in lines)


def digest(line: str) -> int:
    """Return 64 bits of the hash of a row as it is written."""
    return int.from_bytes(hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _checked(fields: Mapping[str, object], *, spelling: RowFormat) -> Row:
    if spelling is RowFormat.preference:
        return check_pair(fields).row
    return check(turns_of(fields, spelling=spelling)).row


def _sources(config: RunConfig, dataset: Dataset) -> Sources:
    """Open the source again; what the data stage wrote stands for a hub's that is out of reach."""
    if isinstance(config.data, HubData) and not dataset.streamed:
        with suppress(DataProblem):
            return open_sources(config.data)
        train, test = jsonl_source(dataset.train_jsonl), jsonl_source(dataset.test_jsonl)
        return Sources(train=train, test=test, format=RowFormat(dataset.format))
    return open_sources(config.data)
