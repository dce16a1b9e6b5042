"""Token rows as a data set on disk: made once from a file of dialogues, then mapped into memory."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from phi_runner.model import templates
from phi_runner.model.tokens import dialogues as chats
from phi_runner.model.tokens import packing
from phi_runner.model.tokens.block import SCHEMA, Block, Ints
from phi_runner.model.tokens.cache import Cache, Facts
from phi_runner.model.tokens.dialogues import Dialogue
from phi_runner.model.tokens.encode import Encoder
from phi_runner.model.tokens.pipeline import encoded
from phi_runner.store import Parts, file_hash

_ROWS, _LENGTHS, _PACKED = "rows.arrow", "lengths.npy", "packed.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """Token ids and labels of dialogues, and what the length limit did to them."""

    dataset: Any
    """datasets.Dataset of `input_ids` and `labels`, lists of int32."""
    lengths: Ints
    """Tokens of each row."""
    taught: int
    """Tokens that are learnt."""
    shortened: int
    """Dialogues that lost later turns, or the end of their only answer."""
    dropped: int
    """Dialogues whose first question alone leaves no room for an answer."""
    parts: Parts = field(default_factory=dict)
    """What the rows were made from; empty for rows that are in memory only."""
    cache: Cache | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def input_ids(self) -> Sequence[list[int]]:
        """Every row's ids; a row is read when it is looked at."""
        ids: Sequence[list[int]] = self.dataset["input_ids"]
        return ids

    @property
    def labels(self) -> Sequence[list[int]]:
        """Every row's labels; a row is read when it is looked at."""
        labels: Sequence[list[int]] = self.dataset["labels"]
        return labels


def tokenise(
    tokenizer: Any, dialogues: Iterable[Dialogue], *, max_length: int, assistant_only: bool = True
) -> TokenRows:
    """Return token rows of at most `max_length` tokens, in memory; every row keeps an answer of the assistant."""
    from datasets import Dataset

    blocks = list(encoded(Encoder(tokenizer, max_length=max_length, assistant_only=assistant_only), dialogues))
    table = pa.Table.from_batches([block.batch() for block in blocks], SCHEMA)
    lengths = np.concatenate([np.empty(0, np.int32), *(block.lengths for block in blocks)])
    counts = _counts(blocks)
    return TokenRows(
        dataset=Dataset(table), lengths=lengths, taught=counts["taught"], shortened=counts["shortened"],
        dropped=counts["dropped"],
    )  # fmt: skip


def tokenise_file(
    tokenizer: Any, file: Path, *, max_length: int, cache: Path, assistant_only: bool = True,
    on_rows: Callable[[int], None] = lambda _rows: None, on_wait: Callable[[], None] = lambda: None,
) -> TokenRows:  # fmt: skip
    """Return the token rows of a file that the data stage wrote, from `cache` where they were made before.

    `on_rows` hears how many rows are done, `on_wait` once that another process is making them. Raises TrainFailed for
    a template that is refused and StoreProblem when the cache cannot be written.
    """
    encoder = Encoder(tokenizer, max_length=max_length, assistant_only=assistant_only)
    parts = _parts(tokenizer, file) | {"max_length": str(max_length), "assistant_only": str(assistant_only)}
    make = partial(_write_rows, encoder=encoder, file=file, on_rows=on_rows)
    found = Cache(cache).get(parts, make=make, on_wait=on_wait)
    with (found.folder / _LENGTHS).open("rb") as stream:
        lengths = np.load(stream)
    return TokenRows(
        dataset=_mapped(found.folder / _ROWS), lengths=lengths, parts=parts, cache=Cache(cache), **found.facts
    )


def pack(rows: TokenRows, *, max_length: int) -> Any:
    """Return a datasets.Dataset whose rows hold several dialogues, with their `seq_lengths`; cached as the rows are.

    `max_length` is at least the one that the rows were made with.
    """
    from datasets import Dataset

    if rows.cache is None:
        batches = rows.dataset.data.table.to_batches()
        return Dataset(pa.Table.from_batches(packing.packed(batches, max_length=max_length), packing.PACKED))
    make = partial(_write_packed, rows=rows, max_length=max_length)
    found = rows.cache.get(rows.parts | {"packed": str(max_length)}, make=make)
    return _mapped(found.folder / _PACKED)


def _mapped(file: Path) -> Any:
    from datasets import Dataset

    return Dataset.from_file(str(file))


def _counts(blocks: Sequence[Block]) -> dict[str, int]:
    names = ("taught", "shortened", "dropped")
    return {name: sum(getattr(block, name) for block in blocks) for name in names}


def _write_rows(folder: Path, *, encoder: Encoder, file: Path, on_rows: Callable[[int], None]) -> Facts:
    counts = {"taught": 0, "shortened": 0, "dropped": 0}
    lengths = [np.empty(0, np.int32)]

    def batches() -> Iterator[Any]:
        done = 0
        for block in encoded(encoder, chats.read(file)):
            for name, count in _counts([block]).items():
                counts[name] += count
            lengths.append(block.lengths)
            done += len(block.lengths) + block.dropped
            on_rows(done)
            yield block.batch()

    _write(folder / _ROWS, batches(), schema=SCHEMA)
    with (folder / _LENGTHS).open("wb") as stream:
        np.save(stream, np.concatenate(lengths))
    return counts


def _write_packed(folder: Path, *, rows: TokenRows, max_length: int) -> Facts:
    with ExitStack() as stack:
        # read, not mapped: mapped pages would count as memory of this process
        source = stack.enter_context(pa.OSFile(rows.dataset.cache_files[0]["filename"]))
        stream = stack.enter_context(pa.ipc.open_stream(source))
        _write(folder / _PACKED, packing.packed(stream, max_length=max_length), schema=packing.PACKED)
    return {}


def _write(file: Path, batches: Iterable[Any], *, schema: Any) -> None:
    # a stream opened here, so that a full disk is an OSError with its number and not one of Arrow's own
    with file.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _parts(tokenizer: Any, file: Path) -> Parts:
    """Return what decides token rows besides the settings: the text, the tokenizer and its template, the code."""
    settings = json.dumps([tokenizer.chat_template, tokenizer.special_tokens_map], sort_keys=True)
    code = [*Path(__file__).parent.glob("*.py"), *Path(templates.__file__).parent.iterdir()]
    return {
        "file": file_hash(file),
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "code": hashlib.sha256("".join(map(file_hash, sorted(filter(Path.is_file, code)))).encode()).hexdigest(),
        "libraries": " ".join(version(name) for name in ("tokenizers", "transformers", "pyarrow")),
    }
