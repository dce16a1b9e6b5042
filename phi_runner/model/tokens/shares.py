"""A file of dialogues divided among processes: where there are many cores, Python could not feed them from one."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from phi_runner.config import cores
from phi_runner.model.tokens import dialogues
from phi_runner.model.tokens.block import SCHEMA, Block, Ints
from phi_runner.model.tokens.encode import Encoder
from phi_runner.model.tokens.pipeline import encoded

_CORES_EACH = 8
"""Cores that one process keeps busy: to collect a row takes an eighth of the time it takes to encode it (measured)."""
_ROWS_EACH = 20_000
"""Fewer rows than this are done before another process has started."""


@dataclass(slots=True, kw_only=True)
class Written:
    """What the file of a share holds."""

    lengths: Ints
    taught: int = 0
    shortened: int = 0
    dropped: int = 0

    def add(self, block: Block) -> None:
        """Count a block's rows, but for their lengths."""
        self.taught += block.taught
        self.shortened += block.shortened
        self.dropped += block.dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Dialogues to be encoded, and how."""

    file: Path
    tokenizer: Any
    max_length: int
    assistant_only: bool


def suitable(rows: int) -> int:
    """Return how many processes encode that many rows the fastest on this machine."""
    return max(1, min(cores.here() // _CORES_EACH, rows // _ROWS_EACH))


def write(work: Work, *, files: list[Path], on_rows: Callable[[int], None]) -> list[Written]:
    """Encode the dialogues into `files`, a process each, in their order; one file is written by this process."""
    if len(files) == 1:
        return [_write(work, rows=(0, None), file=files[0], on_rows=on_rows)]
    edges = np.linspace(0, dialogues.count(work.file), len(files) + 1, dtype=int).tolist()
    threads = str(max(1, cores.here() // len(files)))
    # spawned, not forked: a copy of the threads that Rust or torch have started here would be dead
    with ProcessPoolExecutor(
        len(files), mp_context=get_context("spawn"), initializer=_share_cores, initargs=(threads,)
    ) as pool:
        running = [
            pool.submit(_write, work, rows=rows, file=file) for rows, file in zip(pairwise(edges), files, strict=True)
        ]
        written = []
        for (_start, stop), share in zip(pairwise(edges), running, strict=True):
            written.append(share.result())
            on_rows(stop)
    return written


def write_batches(file: Path, batches: Any, *, schema: Any) -> None:
    """Write record batches as an Arrow stream; raises OSError."""
    # a stream opened here, so that a full disk is an OSError with its number and not one of Arrow's own
    with file.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _share_cores(threads: str) -> None:
    os.environ["RAYON_NUM_THREADS"] = threads  # read when the first batch is encoded


def _ignore(_rows: int) -> None:
    """Tell nobody."""


def _write(
    work: Work, *, rows: tuple[int, int | None], file: Path, on_rows: Callable[[int], None] = _ignore
) -> Written:
    encoder = Encoder(work.tokenizer, max_length=work.max_length, assistant_only=work.assistant_only)
    found, lengths = Written(lengths=np.empty(0, np.int32)), [np.empty(0, np.int32)]

    def batches() -> Iterator[Any]:
        done = 0
        for block in encoded(encoder, dialogues.read(work.file, *rows)):
            found.add(block)
            lengths.append(block.lengths)
            done += len(block.lengths) + block.dropped
            on_rows(done)
            yield block.batch()

    write_batches(file, batches(), schema=SCHEMA)
    found.lengths = np.concatenate(lengths)
    return found
