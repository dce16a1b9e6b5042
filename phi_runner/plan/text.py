"""How much text a run learns from: rows, tokens, the longest ones; stored, counted here, or counted before."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import FileData, HubData, NanoModel, RunConfig, SampleData
from phi_runner.config.take import parse_take
from phi_runner.data import SAMPLE_FILE
from phi_runner.errors import ConfigProblem
from phi_runner.plan.bands import Missing

_LOOKED_AT = 2000
"""Rows of a large file whose lengths stand for all of them."""
_BYTES_A_TOKEN = {"nano": (3.2, 4.4, 5.6), "other": (3.4, 4.2, 5.0)}
"""Of English dialogues, low, likely and high: a vocabulary of some thousands learnt from the very text, and Phi's."""
_TOKENS_A_MESSAGE = 4
"""Role, line breaks and end of turn."""
_ROWS_KNOWN = {("HuggingFaceH4/ultrachat_200k", "train_sft"): (207_865, 23_110, 1_200)}
"""Rows to learn from, rows held out (its `test_sft`), and mean tokens of a dialogue, counted with Phi-3's tokenizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The rows of one epoch."""

    rows: int
    held_out: int
    tokens: float
    long: float
    """Tokens of a row that nine in ten are shorter than."""
    longest: float
    uncertainty: float
    """The true tokens lie between `tokens` divided by and times this."""
    source: str


def text_of(config: RunConfig, *, dataset: Dataset | None) -> Text | Missing:
    """Return what is known of a run's text: of its stored rows, else of the source."""
    if dataset is not None and not dataset.streamed:
        return _stored(config, dataset)
    match config.data:
        case SampleData():
            return _sample(config)
        case FileData():
            return _file(config, config.data)
        case HubData():
            return _hub(config, config.data)
        case _:
            return Missing(what="the tokens of the data")


def _stored(config: RunConfig, dataset: Dataset) -> Text | Missing:
    file = dataset.train_jsonl
    if not file.is_file():
        return Missing(what=f"the tokens of the data: {file} is not there")
    sizes, whole = _looked_at(_rows_of(file)), file.stat().st_size
    if not sizes:
        return Missing(what="the tokens of the data: there are no rows")
    return _text(
        config, sizes, rows=dataset.train_rows, held_out=dataset.test_rows,
        source="the stored rows" if len(sizes) >= dataset.train_rows else f"the first {len(sizes)} of the stored rows",
        near=len(sizes) >= dataset.train_rows or not whole,
    )  # fmt: skip


def _sample(config: RunConfig) -> Text | Missing:
    learnt, held_out = _counted_sample()
    taken = _take(config, len(learnt))
    return _text(
        config, list(learnt[:taken]), rows=taken, held_out=held_out, source="the shipped set", near=True
    )  # fmt: skip


@cache
def _counted_sample() -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the sizes of the shipped rows to learn from, and how many are held out."""
    rows = list(_rows_of(SAMPLE_FILE))
    learnt = [row for row in rows if row.get("split") != "test"]
    return tuple(_looked_at(learnt)), len(rows) - len(learnt)


def _file(config: RunConfig, data: FileData) -> Text | Missing:
    file = Path(data.train_file).expanduser()
    if data.stream:
        return Missing(what="the tokens of the data: it is read while training, and train.extra.max_steps ends that")
    try:
        whole = file.stat().st_size
    except OSError:
        return Missing(what=f"the tokens of the data: {file} cannot be read")
    if file.suffix != ".jsonl":
        return Missing(what=f"the tokens of the data: the rows of {file.name} are counted by the data stage")
    sizes = _looked_at(_rows_of(file))
    if not sizes:
        return Missing(what=f"the tokens of the data: {file.name} has no rows that can be read")
    read = sum(size for size, _messages in sizes)
    complete = len(sizes) < _LOOKED_AT
    total = len(sizes) if complete else int(len(sizes) * whole / max(1, read))
    taken = _take(config, total)
    held_out = 0 if data.eval_file else round(taken * config.data.eval_fraction)
    return _text(
        config, sizes[:taken], rows=max(1, taken - held_out), held_out=held_out, near=complete,
        source=f"{file.name}" if complete else f"the first {len(sizes)} rows of {file.name}",
    )  # fmt: skip


def _hub(config: RunConfig, data: HubData) -> Text | Missing:
    known = _ROWS_KNOWN.get((data.repo, data.split))
    if known is None or data.stream:
        return Missing(what=f"the tokens of {data.repo}: its size is known when the data stage has run")
    rows, held_out, mean = known
    taken = _take(config, rows)
    kept = taken if data.eval_split else max(1, round(taken * (1 - data.eval_fraction)))
    return Text(
        rows=kept, held_out=held_out if data.eval_split else taken - kept, tokens=float(kept * mean), long=2.0 * mean,
        longest=4.0 * mean, uncertainty=1.3, source=f"{rows} rows of {mean} tokens, counted before",
    )  # fmt: skip


def _take(config: RunConfig, rows: int) -> int:
    try:
        return parse_take(config.data.take).rows(rows)
    except ConfigProblem:
        return rows


def _text(
    config: RunConfig, sizes: list[tuple[int, int]], *, rows: int, held_out: int, source: str, near: bool
) -> Text:
    low, likely, high = _BYTES_A_TOKEN["nano" if isinstance(config.model, NanoModel) else "other"]
    lengths = sorted(size / likely + messages * _TOKENS_A_MESSAGE for size, messages in sizes)
    cut = [min(length, config.train.max_length) for length in lengths]
    return Text(
        rows=rows, held_out=held_out, tokens=sum(cut) / len(cut) * rows, long=cut[int(0.9 * (len(cut) - 1))],
        longest=cut[-1], uncertainty=max(likely / low, high / likely) * (1.0 if near else 1.2), source=source,
    )  # fmt: skip


def _rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, line by line; what is none is passed over."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def _looked_at(rows: Iterable[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the bytes of text and the number of messages of the first rows."""
    return [_size(row) for row in islice(rows, _LOOKED_AT)]


def _size(row: dict[str, Any]) -> tuple[int, int]:
    turns = row.get("messages") or row.get("conversations")
    if isinstance(turns, list):
        texts = [str(turn.get("content", turn.get("value", ""))) for turn in turns if isinstance(turn, dict)]
    else:
        texts = [value for value in row.values() if isinstance(value, str)]
    return sum(len(text.encode()) for text in texts), max(1, len(texts))
