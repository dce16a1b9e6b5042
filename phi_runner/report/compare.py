"""Runs side by side: what was set, read, measured, answered and installed differently."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config.recipe_values import flattened
from phi_runner.report import card
from phi_runner.report.run_folder import RunFolder, number, table, text

_PLACES = ("outputs", "plan", "run", "runs")
_LARGEST_ROWS = 64 * 2**20
"""Bytes of a file of rows that is read to say how many two runs share."""
_DATA = {
    "source": "source", "format": "format", "train_rows": "rows to learn from", "test_rows": "held-out rows",
    "dropped_rows": "rows left out", "content_hash": "hash of the rows",
}  # fmt: skip
_HASH, _WHOLE_HASH = 16, 64
"""Letters of a hash that are shown, and that it has."""
_TRAINING = ("parameters", "steps", "loss_first", "loss_last")
_SPEED = (("tokens_per_s", "tokens per second", 1.0), ("peak_bytes", "peak memory, GiB", 2.0**-30))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing of all runs: a value each, None where a run has none."""

    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Say whether the runs disagree."""
        return any(value != self.values[0] for value in self.values[1:])

    def differences(self) -> list[float | None]:
        """Return each later value less the first; None where one of them is no number."""
        first = self.values[0]
        return [value - first if _is_number(value) and _is_number(first) else None for value in self.values[1:]]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def letters(runs: Sequence[RunFolder]) -> list[str]:
    """Return a short name for each run: A, B, C ..."""
    return [string.ascii_uppercase[at] if at < 26 else f"run {at + 1}" for at in range(len(runs))]


def rows_of(tables: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each name that any of the tables has, in the order in which they come up."""
    names = dict.fromkeys(name for values in tables for name in values)
    return [Row(name=name, values=tuple(values.get(name) for values in tables)) for name in names]


def settings(runs: Sequence[RunFolder]) -> list[Row]:
    """Return the settings that differ, the kinds of the groups first."""
    kinds = rows_of([table(run.versions.get("kinds")) for run in runs])
    values = rows_of([flattened(run.config) for run in runs])
    both = [*kinds, *(row for row in values if row.name not in _PLACES)]
    return [row for row in both if row.differs]


def data(runs: Sequence[RunFolder]) -> list[Row]:
    """Return what each run learnt from, and how many of the first run's rows each has."""
    found = [{name: _short(run.artifact("data").get(field)) for field, name in _DATA.items()} for run in runs]
    told = [row for row in rows_of(found) if any(value is not None for value in row.values)]
    shared = _shared(runs)
    return [*told, Row(name="rows shared with the first run", values=shared)] if shared else told


def _short(value: object) -> object:
    return value[:_HASH] if isinstance(value, str) and len(value) == _WHOLE_HASH else value


def _shared(runs: Sequence[RunFolder]) -> tuple[Any, ...]:
    lines = [_lines(run) for run in runs]
    first = lines[0]
    if first is None:
        return ()
    return tuple(None if found is None else len(first & found) for found in lines)


def _lines(run: RunFolder) -> set[bytes] | None:
    folder = run.result("data")
    file = folder / "train_data.jsonl" if folder else None
    if file is None or not file.is_file() or file.stat().st_size > _LARGEST_ROWS:
        return None
    return set(file.read_bytes().splitlines())


def figures(runs: Sequence[RunFolder]) -> list[Row]:
    """Return every figure that was measured: the card's, the training's, how long stages took."""
    return [row for row in rows_of([dict(_figures(run)) for run in runs]) if any(v is not None for v in row.values)]


def _figures(run: RunFolder) -> Iterator[tuple[str, Any]]:
    for figure in card.figures(run):
        name = text(figure, "name")
        yield f"{name}, before", number(figure, "before")
        yield f"{name}, after", number(figure, "after")
    trained, measured = run.artifact("train"), table(run.of_stage("train", "measured.json"))
    for field in _TRAINING:
        yield f"training: {field.replace('_', ' ')}", number(trained, field)
    for field, name, factor in _SPEED:
        found = number(measured, field)
        yield name, None if found is None else found * factor
    for stage in run.stages:
        yield f"seconds of {stage.name}", stage.seconds if stage.status == "done" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One held-out prompt that several runs were asked."""

    prompt: str
    wanted: str
    answers: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Say whether two runs answered otherwise."""
        return len({answer for answer in self.answers if answer is not None}) > 1


def answers(runs: Sequence[RunFolder]) -> list[Answered]:
    """Return the prompts that at least two runs have answered, those with other answers first."""
    each = [{(card.prompt(row), text(row, "wanted")): text(row, "after") for row in card.answers(run)} for run in runs]
    asked = dict.fromkeys(key for found in each for key in found)
    told = [
        Answered(prompt=prompt, wanted=wanted, answers=tuple(found.get((prompt, wanted)) for found in each))
        for prompt, wanted in asked
        if sum((prompt, wanted) in found for found in each) > 1
    ]
    return sorted(told, key=lambda one: not one.differs)


def versions(runs: Sequence[RunFolder]) -> list[Row]:
    """Return what was installed or ran differently; runs that have told nothing of it are left as unknown."""
    found = [row for row in rows_of([made_with(run) for run in runs]) if row.differs]
    return [*found, *_code(runs)]


def made_with(run: RunFolder) -> dict[str, Any]:
    """Return everything around a run that may change its numbers, as flat names."""
    names = ("phi_runner", "checkout", "python", "threads")
    flat = {name: run.versions[name] for name in names if name in run.versions}
    for part in ("machine", "environment"):
        flat |= {name: _plain(value) for name, value in table(run.versions.get(part)).items()}
    return flat | table(run.versions.get("distributions"))


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _code(runs: Sequence[RunFolder]) -> list[Row]:
    """Return one row that counts the changed source files, where stages ran from other code."""
    codes = [code_of(run) for run in runs]
    other = {row.name for row in rows_of(codes) if row.differs and all(value is not None for value in row.values)}
    if not other:
        return []
    told = f"{len(other)} files differ from the first run's, such as {min(other)}"
    return [Row(name="source code", values=("", *[told for _run in runs[1:]]))]


def code_of(run: RunFolder) -> dict[str, str]:
    """Return the hash of each source file that decided a result of the run."""
    stages = table(run.versions.get("stages")).values()
    parts = [table(table(stage).get("parts")) for stage in stages]
    return {name: value for found in parts for name, value in found.items() if name.startswith("code:")}


def read_all(folders: Sequence[Path]) -> list[RunFolder]:
    """Return the runs of some folders."""
    from phi_runner.report.run_folder import read

    return [read(folder) for folder in folders]
