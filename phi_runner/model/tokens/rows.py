"""Token rows as a data set on disk: made once from a file of dialogues, then mapped into memory."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from phi_runner.model import templates
from phi_runner.model.tokens import dialogues as chats
from phi_runner.model.tokens import packing, shares
from phi_runner.model.tokens.block import SCHEMA, Ints
from phi_runner.model.tokens.cache import Cache, Facts
from phi_runner.model.tokens.dialogues import Dialogue
from phi_runner.model.tokens.encode import Encoder
from phi_runner.model.tokens.pipeline import encoded
from phi_runner.store import Parts, file_hash

_ROWS, _LENGTHS, _PACKED = "rows-{}.arrow", "lengths.npy", "packed.arrow"


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
    return TokenRows(
        dataset=Dataset(table), lengths=lengths, taught=sum(block.taught for block in blocks),
        shortened=sum(block.shortened for block in blocks), dropped=sum(block.dropped for block in blocks),
    )  # fmt: skip


def tokenise_file(
    tokenizer: Any, file: Path, *, max_length: int, cache: Path, assistant_only: bool = True,
    processes: int = 0, on_rows: Callable[[int], None] = lambda _rows: None,
    on_wait: Callable[[], None] = lambda: None,
) -> TokenRows:  # fmt: skip
    """Return the token rows of a file that the data stage wrote, from `cache` where they were made before.

    `processes` 0 is as many as pay; the rows are the same. `on_rows` hears how many rows are done, `on_wait`
    once that someone else is making them. Raises TrainFailed for a template that is refused and StoreProblem when the
    cache cannot be written.
    """
    work = shares.Work(file=file, tokenizer=tokenizer, max_length=max_length, assistant_only=assistant_only)
    parts = _parts(tokenizer, file) | {"max_length": str(max_length), "assistant_only": str(assistant_only)}
    make = partial(_write_rows, work=work, processes=processes, on_rows=on_rows)
    found = Cache(cache).get(parts, make=make, on_wait=on_wait)
    with (found.folder / _LENGTHS).open("rb") as stream:
        lengths = np.load(stream)
    files = sorted(found.folder.glob(_ROWS.format("*")))
    return TokenRows(dataset=_mapped(files), lengths=lengths, parts=parts, cache=Cache(cache), **found.facts)


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
    return _mapped([found.folder / _PACKED])


def _mapped(files: Sequence[Path]) -> Any:
    from datasets import Dataset, concatenate_datasets

    return concatenate_datasets([Dataset.from_file(str(file)) for file in files])


def _write_rows(folder: Path, *, work: shares.Work, processes: int, on_rows: Callable[[int], None]) -> Facts:
    count = processes or shares.suitable(chats.count(work.file))
    files = [folder / _ROWS.format(f"{number:04}") for number in range(count)]
    written = shares.write(work, files=files, on_rows=on_rows)
    with (folder / _LENGTHS).open("wb") as stream:
        np.save(stream, np.concatenate([share.lengths for share in written]))
    names = ("taught", "shortened", "dropped")
    return {name: sum(getattr(share, name) for share in written) for name in names}


def _write_packed(folder: Path, *, rows: TokenRows, max_length: int) -> Facts:
    files = [file["filename"] for file in rows.dataset.cache_files]
    batches = chain.from_iterable(map(_batches, files))
    shares.write_batches(
        folder / _PACKED, packing.packed(batches, max_length=max_length), schema=packing.PACKED
    )  # fmt: skip
    return {}


def _batches(file: str) -> Iterator[Any]:
    # read, not mapped: mapped pages would count as memory of this process
    with pa.OSFile(file) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


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
