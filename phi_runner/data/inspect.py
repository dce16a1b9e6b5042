"""Read the rows of a source, keep those that can be learned from, and say what happened to the others."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from phi_runner.config.schema import RowFormat
from phi_runner.config.take import Take
from phi_runner.data.check import NO_ASSISTANT, check
from phi_runner.data.formats import SPELLINGS, detect, turns_of
from phi_runner.data.preference import check_pair
from phi_runner.data.rows import Record, Row, Source, Unusable
from phi_runner.data.spool import Spool
from phi_runner.errors import DataProblem
from phi_runner.events import StageEvents

_PROGRESS_ROWS = 1000
_REASONS_TOLD = 8


@dataclass(slots=True, kw_only=True)
class Dropped:
    """How many rows were left out for one reason, and where the first of them is."""

    count: int
    first: str


@dataclass(slots=True, kw_only=True)
class Inspected:
    """The usable rows of a source, in its order, and the count of everything else."""

    source: str
    total: int
    taken: int
    format: RowFormat
    rows: list[Row] | Spool = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    repairs: Counter[str] = field(default_factory=Counter)

    @property
    def dropped_rows(self) -> int:
        """Rows left out, for any reason."""
        return self.taken - len(self.rows)

    def add(self, record: Record) -> None:
        """Keep the row, or count why not."""
        try:
            row, repairs = _checked(record.fields, spelling=self.format)
        except Unusable as err:
            self.dropped.setdefault(str(err), Dropped(count=0, first=record.place)).count += 1
        else:
            self.rows.append(row)
            self.repairs.update(repairs)


def _checked(fields: Mapping[str, object], *, spelling: RowFormat) -> tuple[Row, tuple[str, ...]]:
    if spelling is RowFormat.preference:
        return check_pair(fields)
    return check(turns_of(fields, spelling=spelling))


def inspect(
    source: Source, *, take: Take, spelling: RowFormat, events: StageEvents, spool: Spool | None = None
) -> Inspected:
    """Read and check the first rows of a source; raises DataProblem when none of them can be used.

    The rows are kept in `spool`, else in memory.
    """
    total = source.total()
    if total == 0:
        raise DataProblem(f"{source.name} holds no rows")
    taken = take.rows(total)
    if not take.is_share and taken < take.amount:
        events.warn(f"data.take={take.amount} asks for more rows than {source.name} has: {total}")
    known = format_of(source, spelling=spelling, events=events)
    kept: list[Row] | Spool = [] if spool is None else spool
    found = Inspected(source=source.name, total=total, taken=taken, format=known, rows=kept)
    for number, record in enumerate(islice(source.read(), taken)):
        if number and number % _PROGRESS_ROWS == 0:
            events.progress(number, taken, "rows read")
        found.add(record)
    if not found.rows:
        raise DataProblem(nothing_left(found))
    tell(found, events=events)
    return found


def format_of(source: Source, *, spelling: RowFormat, events: StageEvents) -> RowFormat:
    """Return the format the config names, else the one that the first row's fields mean."""
    if spelling is not RowFormat.auto:
        return spelling
    first = next(source.read(), None)
    if first is None:
        raise DataProblem(f"{source.name} holds no rows")
    known = detect(first.fields)
    fields = ", ".join(first.fields) or "none"
    if known is None:
        raise DataProblem(f"{first.place}: fields {fields}: not a format known here; rename to one of: {SPELLINGS}")
    events.info(f"{source.name}: format {known} (fields of the first row: {fields})", format=known)
    return known


def tell(found: Inspected, *, events: StageEvents) -> None:
    """Say what was left out or repaired, and where the first of each kind is."""
    worst = sorted(found.dropped.items(), key=lambda item: -item[1].count)
    for reason, dropped in worst[:_REASONS_TOLD]:
        events.warn(
            f"dropped {dropped.count} of {found.taken} rows: {reason}; the first is {dropped.first}", rows=dropped.count
        )
    if len(worst) > _REASONS_TOLD:
        rest = sum(dropped.count for _reason, dropped in worst[_REASONS_TOLD:])
        events.warn(f"dropped {rest} rows for {len(worst) - _REASONS_TOLD} other reasons: see report.json", rows=rest)
    for repair, count in found.repairs.items():
        events.info(f"{repair} in {count} of {found.taken} rows", rows=count)


def nothing_left(found: Inspected) -> str:
    """Say in one line why no row of a source can be used."""
    if set(found.dropped) == {NO_ASSISTANT}:
        where = f"{found.taken} rows, the first is {found.dropped[NO_ASSISTANT].first}"
        return f"{found.source}: no assistant turn in any row: nothing to learn from ({where})"
    return f"{found.source}: none of {found.taken} rows can be used: {_reasons(found.dropped)}"


def _reasons(dropped: Mapping[str, Dropped]) -> str:
    worst = sorted(dropped.items(), key=lambda item: -item[1].count)[:_REASONS_TOLD]
    told = [f"{item.count} x {reason} (first: {item.first})" for reason, item in worst]
    return "; ".join(told) + (f"; and {len(dropped) - len(told)} other reasons" if len(dropped) > len(told) else "")
