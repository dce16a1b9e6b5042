"""Rows of CSV and Parquet files."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phi_runner.data.lines import decoded, lines, reading
from phi_runner.data.rows import Record, Source
from phi_runner.errors import DataProblem

_LONGEST_VALUE = 2**27  # characters; the csv module stops at 131,072, which a long dialogue reaches
_BATCH_ROWS = 1000


def csv_source(file: Path) -> Source:
    """Return the rows of a CSV file whose first line names the columns."""
    return Source(name=str(file), total=lambda: sum(1 for _ in _read_csv(file)), read=lambda: _read_csv(file))


def _read_csv(file: Path) -> Iterator[Record]:
    header: list[str] = []
    for number, (line, values) in enumerate(_csv_rows(file)):
        if number == 0:
            header = [name.strip() for name in values]
            continue
        if len(values) != len(header):
            raise DataProblem(
                f"{file}:{line}: {len(values)} values for {len(header)} columns: "
                "put values that hold a comma in double quotes"
            )
        yield Record(place=f"{file}:{line} (row {number})", fields=dict(zip(header, values, strict=True)))


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line it begins on; a quoted value may span lines, blank ones too."""
    csv.field_size_limit(_LONGEST_VALUE)
    begins = 1
    reader = csv.reader((decoded(line, file=file) for line in lines(file)), strict=True)
    try:
        for values in reader:
            if values:
                yield begins, values
            begins = reader.line_num + 1
    except csv.Error as err:
        raise DataProblem(f"{file}:{begins}: not CSV: {err}") from err


def parquet_source(file: Path) -> Source:
    """Return the rows of a Parquet file, read in batches."""
    return Source(name=str(file), total=lambda: _count_parquet(file), read=lambda: _read_parquet(file))


def _count_parquet(file: Path) -> int:
    with _opened(file) as table:
        return int(table.metadata.num_rows)


def _opened(file: Path) -> Any:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        with reading(file):
            return pq.ParquetFile(file)
    except ArrowInvalid as err:
        raise DataProblem(f"{file}: not a Parquet file: {_first_line(err)}") from err


def _read_parquet(file: Path) -> Iterator[Record]:
    from pyarrow import ArrowException

    number = 0
    try:
        with reading(file), _opened(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(place=f"{file} row {number}", fields=fields)
    except ArrowException as err:
        raise DataProblem(f"{file}: damaged after row {number}: {_first_line(err)}") from err


def _first_line(err: Exception) -> str:
    return str(err).partition("\n")[0]
