"""Read the dialogues that the data stage wrote."""

from pathlib import Path

import pyarrow as pa

from phi_runner.model.tokens import Dialogue


def dialogues(file: Path) -> list[Dialogue]:
    """Return the `messages` of every row of an Arrow stream, in the file's order."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        rows: list[Dialogue] = stream.read_all().column("messages").to_pylist()
    return rows
