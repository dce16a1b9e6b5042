"""Rows of JSON Lines files, and of JSON files that hold an array of rows."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from phi_runner.data.lines import Line, decoded, lines, whole
from phi_runner.data.rows import Record, Source
from phi_runner.errors import DataProblem


def jsonl_source(file: Path) -> Source:
    """Return the rows of a JSON Lines file; it is read line by line and never held as a whole."""
    return Source(name=str(file), total=lambda: sum(1 for _ in _filled(file)), read=lambda: _read_lines(file))


def _filled(file: Path) -> Iterator[Line]:
    return (line for line in lines(file) if line.data.strip())


def _read_lines(file: Path) -> Iterator[Record]:
    for number, line in enumerate(_filled(file), start=1):
        value = _parsed(line, file=file)
        if number == 1 and isinstance(value, list):
            raise DataProblem(f"{file}: a JSON array, but .jsonl has one object a line: name the file .json")
        yield _record(value, place=f"{file}:{line.number} (row {number})")


def json_source(file: Path) -> Source:
    """Return the rows of a JSON file: an array of objects, or an object with such an array under `data`."""

    @cache
    def rows() -> list[object]:
        return _array(file)

    def read() -> Iterator[Record]:
        for number, value in enumerate(rows(), start=1):
            yield _record(value, place=f"{file} row {number}")

    return Source(name=str(file), total=lambda: len(rows()), read=read)


def _array(file: Path) -> list[object]:
    everything = whole(file)
    if not everything.data.strip():
        return []
    value = _parsed(everything, file=file)
    found = value.get("data") if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise DataProblem(
            f'{file}: not an array of rows: write [{{...}}, {{...}}] or {{"data": [{{...}}]}}, '
            "or one object a line in a .jsonl file"
        )
    return found


def _parsed(text: Line, *, file: Path) -> object:
    try:
        value: object = json.loads(decoded(text, file=file).rstrip())  # so that no error is on the line after
    except json.JSONDecodeError as err:
        line = text.number + err.lineno - 1
        hint = ": one object a line belongs in a .jsonl file" if err.msg == "Extra data" and err.lineno > 1 else ""
        raise DataProblem(f"{file}:{line}: not JSON: {err.msg} (column {err.colno}){hint}") from err
    except RecursionError as err:
        raise DataProblem(f"{file}:{text.number}: brackets nested too deeply to be read") from err
    except ValueError as err:  # Python reads whole numbers up to 4,300 digits
        raise DataProblem(f"{file}:{text.number}: a number of too many digits to be read") from err
    return value


def _record(value: object, *, place: str) -> Record:
    if not isinstance(value, dict):
        raise DataProblem(f'{place}: a row must be a JSON object like {{"messages": [...]}}, this is {_name(value)}')
    return Record(place=place, fields=value)


def _name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case list():
            return "an array"
        case _:
            return "a number"
