"""Write a divided data set: Arrow streams for training, JSON Lines for people and other tools."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from phi_runner.data.rows import Row, columns, json_line

_BATCH_ROWS = 1000


def write_rows(rows: Sequence[Row], *, arrow: Path, jsonl: Path) -> str:
    """Write the rows in both forms, in their order, and return the sha256 of the JSON Lines file."""
    _write_arrow(rows, file=arrow)
    digest = hashlib.sha256()
    with jsonl.open("wb") as stream:
        for row in rows:
            line = f"{json_line(row)}\n".encode()
            digest.update(line)
            stream.write(line)
    return digest.hexdigest()


def _write_arrow(rows: Sequence[Row], *, file: Path) -> None:
    """Write one Arrow IPC stream, which `datasets.Dataset.from_file` maps into memory."""
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([(name, messages) for name in (columns(rows[0]) if rows else ("messages",))])
    # a stream opened here, so that a full disk is an OSError with its number and not one of Arrow's own
    with file.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = [columns(row) for row in rows[start : start + _BATCH_ROWS]]
            arrays = [pa.array([row[name] for row in batch], type=messages) for name in schema.names]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
