"""What the rows are in tokens: whose tokenizer, how long, how much of it is learnt, how many steps it makes."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import DpoTrain, HubModel, NanoModel, RunConfig
from phi_runner.data.rows import Row
from phi_runner.model import chat_tokenizer as installed
from phi_runner.model import tokenizer as bpe
from phi_runner.model.tokens import packing
from phi_runner.preflight import lengths
from phi_runner.preflight.chat_tokenizer import ChatTokenizer
from phi_runner.preflight.lengths import Lengths
from phi_runner.preflight.reading import Reading
from phi_runner.preflight.result import TokenCount

_LEARNT_CHARACTERS = 8_000_000
"""Text that a tokenizer made here is learnt from; training learns it from all there is."""
_BARS = 30


def count(config: RunConfig, dataset: Dataset) -> TokenCount:
    """Count the tokens of the first rows; raises TrainFailed for a tokenizer or template that training refuses too."""
    train, most = config.train, config.preflight.token_rows
    tokenizer, name = _tokenizer(config, dataset)
    rows = islice(learnt_rows(config, dataset), most)
    if tokenizer is None:
        found = lengths.estimated(rows, max_length=train.max_length, assistant_only=train.assistant_only_loss)
    elif isinstance(train, DpoTrain):
        pairs = (row for row in rows if not isinstance(row, list))
        found = lengths.of_pairs(tokenizer, pairs, max_length=train.max_length)
    else:
        found = lengths.of_dialogues(
            tokenizer, rows, max_length=train.max_length, assistant_only=train.assistant_only_loss
        )
    return _counted(found, config, rows=dataset.train_rows, tokenizer=name, estimated=tokenizer is None)


def _counted(found: Lengths, config: RunConfig, *, rows: int, tokenizer: str, estimated: bool) -> TokenCount:
    kept = np.array([length for length in found.kept if length], np.int32)
    packs = config.train.packing and not isinstance(config.train, DpoTrain)
    return TokenCount(
        tokenizer=tokenizer, estimated=estimated, counted=len(found.whole), rows=rows, whole=sum(found.whole),
        taught=sum(found.taught), kept=sum(found.kept), kept_taught=sum(found.kept_taught),
        shortened=sum(0 < kept < whole for kept, whole in zip(found.kept, found.whole, strict=True)),
        dropped=found.kept.count(0),
        packed=packing.count(kept, max_length=config.train.max_length) if packs else len(kept),
        dialogues=spread(found.whole), answers=spread(found.answers),
    )  # fmt: skip


def learnt_rows(config: RunConfig, dataset: Dataset) -> Iterator[Row]:
    """Yield the rows to learn from, as the data stage wrote them or as a stream has them."""
    if dataset.streamed:
        reading = Reading(config=config, dataset=dataset, most=config.preflight.rows)
        yield from (seen.row for seen in reading if seen.row is not None and not seen.held_out)
        return
    with dataset.train_jsonl.open(encoding="utf-8") as lines:
        for line in lines:
            columns = json.loads(line)
            yield columns if "chosen" in columns else columns["messages"]


def _tokenizer(config: RunConfig, dataset: Dataset) -> tuple[Any, str]:
    """Return the model's tokenizer, made from the rows where the model is made here, or None; and whose it is."""
    model = config.model
    if isinstance(model, NanoModel) and not model.path:
        core = bpe.core(_texts(config, dataset), vocab_size=model.vocab_size)
        template = ChatTokenizer(core, template=bpe.template(), special_tokens=bpe.NAMED_TOKENS)
        return template, "learnt from these rows, as training will"
    if installed.files(model):
        return installed.opened(model), f"of {model.path or getattr(model, 'repo', '')}"
    where = model.repo if isinstance(model, HubModel) else model.path
    return None, f"of {where} is not on this machine: counted in bytes, {lengths.BYTES_PER_TOKEN} a token"


def _texts(config: RunConfig, dataset: Dataset) -> Iterator[str]:
    read = 0
    for row in learnt_rows(config, dataset):
        for message in row if isinstance(row, list) else [*row["prompt"], *row["chosen"]]:
            yield message["content"]
            read += len(message["content"])
        if read > _LEARNT_CHARACTERS:
            return


def spread(found: list[int]) -> dict[str, Any]:
    """Return percentiles of some lengths, and bars: their edges and how many lie between."""
    if not found:
        return {"percentiles": {}, "edges": [], "counts": []}
    values = np.array(found)
    levels = (0, 5, 25, 50, 75, 95, 99, 100)
    low, high = int(values.min()), int(values.max())
    scale = np.geomspace if high > 20 * max(low, 1) else np.linspace  # lengths of many sizes need a logarithmic axis
    edges = np.unique(np.round(scale(max(low, 1), high + 1, _BARS + 1)).astype(int))
    counts, _edges = np.histogram(values, bins=edges if len(edges) > 1 else [low, low + 1])
    return {
        "percentiles": {str(level): int(np.percentile(values, level)) for level in levels},
        "edges": edges.tolist() if len(edges) > 1 else [low, low + 1], "counts": counts.tolist(),
    }  # fmt: skip
