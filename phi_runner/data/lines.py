"""Text files line by line, UTF-8 only: where they cannot be read or decoded, and at which byte."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from phi_runner.errors import DataProblem


class Line(NamedTuple):
    """Bytes of a file, the number of the line they are, and how many bytes come before them."""

    number: int
    offset: int
    data: bytes


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn what the operating system says about a file into DataProblem."""
    try:
        yield
    except OSError as err:
        raise DataProblem(f"{file} cannot be read: {err.strerror or err}") from err


def lines(file: Path) -> Iterator[Line]:
    """Yield the lines as bytes, with their line ends and without a byte order mark."""
    with reading(file), file.open("rb") as stream:
        offset = 0
        for number, raw in enumerate(stream, start=1):
            data = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            yield Line(number, offset + len(raw) - len(data), data)
            offset += len(raw)


def whole(file: Path) -> Line:
    """Return all bytes of a file without a byte order mark."""
    with reading(file):
        raw = file.read_bytes()
    data = raw.removeprefix(codecs.BOM_UTF8)
    return Line(1, len(raw) - len(data), data)


def decoded(line: Line, *, file: Path) -> str:
    """Return the text; raises DataProblem that names the first byte which is not UTF-8."""
    try:
        return line.data.decode("utf-8")
    except UnicodeDecodeError as err:
        number = line.number + line.data.count(b"\n", 0, err.start)
        value = line.data[err.start]
        raise DataProblem(
            f"{file}:{number}: byte {line.offset + err.start} (0x{value:02x}) is not UTF-8: save the file as UTF-8"
        ) from err
