"""Token rows that are made as training asks for them: for dialogues that no disk holds. Nothing is written."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from phi_runner.model.tokens import packing
from phi_runner.model.tokens.block import SCHEMA
from phi_runner.model.tokens.dialogues import Dialogue
from phi_runner.model.tokens.encode import Encoder
from phi_runner.model.tokens.pipeline import encoded

_ROWS_AHEAD = 256
"""Packed rows made at once: the first step waits for them, and best fit finds room enough among their parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Dialogues that become rows while training asks for them; how many there are nobody knows."""

    tokenizer: Any
    dialogues: Callable[[], Iterable[Dialogue]]
    max_length: int
    """Longest row, in tokens."""
    assistant_only: bool
    seed: int

    def rows(self, *, packed: bool) -> Any:
        """Return them as a datasets.IterableDataset."""
        return stream(
            self.tokenizer, self.dialogues, max_length=self.max_length, assistant_only=self.assistant_only,
            packed=packed, seed=self.seed,
        )  # fmt: skip


def stream(
    tokenizer: Any, dialogues: Callable[[], Iterable[Dialogue]], *, max_length: int, assistant_only: bool = True,
    packed: bool = False, seed: int | None = None,
) -> Any:  # fmt: skip
    """Return a datasets.IterableDataset of the rows that `tokenise`, or `pack` where `packed`, would give.

    `dialogues` is called for every pass and must give the same ones each time: a resumed training passes over those it
    has seen. In memory are a few batches, and the window that is packed; the same rows come packed otherwise than by
    `pack` where its windows begin elsewhere, and with a `seed` each window's rows are shuffled: packing has put those
    of long dialogues first. How many rows there are is not known, so training needs `max_steps`.
    """
    from datasets import DatasetInfo, Features, IterableDataset
    from datasets.iterable_dataset import ExamplesIterable

    def examples() -> Iterator[tuple[int, dict[str, list[int]]]]:
        encoder = Encoder(tokenizer, max_length=max_length, assistant_only=assistant_only)
        batches = (block.batch() for block in encoded(encoder, dialogues()))
        rows = packing.packed(batches, max_length=max_length, rows_ahead=_ROWS_AHEAD) if packed else batches
        if packed and seed is not None:
            chance = np.random.default_rng(seed)
            rows = (batch.take(pa.array(chance.permutation(batch.num_rows))) for batch in rows)
        yield from enumerate(row for batch in rows for row in _rows(batch))

    info = DatasetInfo(features=Features.from_arrow_schema(packing.PACKED if packed else SCHEMA))
    return IterableDataset(ExamplesIterable(examples, {}), info=info)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, list[int]]]:
    """Yield rows as Python values, one at a time: all of a batch at once would take ten times its memory."""
    for position in range(batch.num_rows):
        yield {name: batch.column(name)[position].as_py() for name in batch.schema.names}
