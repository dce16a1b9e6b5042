"""Dialogues as token rows: rendered by the model's template, labelled on the assistant's words, cut between turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from phi_runner.errors import TrainFailed

Message: TypeAlias = dict[str, str]
Dialogue: TypeAlias = Sequence[Message]
IGNORED = -100
"""The label that cross entropy passes over (torch's default ignore_index)."""
_LEAST_ANSWER = 8
"""An answer cut to fewer tokens than this teaches nothing but stopping in mid-sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """Token ids and labels, one list a dialogue, and what the length limit did."""

    input_ids: list[list[int]]
    labels: list[list[int]]
    shortened: int
    """Dialogues that lost later turns, or the end of their only answer."""
    dropped: int
    """Dialogues whose first question alone leaves no room for an answer."""


def _render(tokenizer: Any, dialogue: Dialogue, *, ask: bool = False) -> str:
    text: str = tokenizer.apply_chat_template(list(dialogue), tokenize=False, add_generation_prompt=ask)
    return text


def _common(first: str, second: str) -> int:
    """Return how many leading characters two texts share."""
    if second.startswith(first):
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((position for position, (a, b) in pairs if a != b), min(len(first), len(second)))


def answer_spans(tokenizer: Any, dialogue: Dialogue, text: str) -> list[tuple[int, int]]:
    """Return where in the rendered `text` each assistant turn lies, end marker included, in characters.

    A turn begins where the text up to it, rendered as a question, ends. It ends where the text up to and with it stops
    agreeing with the whole: works for any template that only ever appends; raises TrainFailed for one that does not.
    """
    spans = []
    for position, message in enumerate(dialogue):
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, dialogue[:position], ask=True)
        if not text.startswith(before):
            raise TrainFailed(
                "this model's chat template rewrites earlier turns, so the assistant's words cannot be told apart; "
                "type train.assistant_only_loss=false"
            )
        last = position == len(dialogue) - 1
        spans.append((len(before), len(text) if last else _common(_render(tokenizer, dialogue[: position + 1]), text)))
    return spans


def _label(ids: list[int], offsets: Sequence[tuple[int, int]], spans: list[tuple[int, int]]) -> list[int]:
    """Label the tokens that lie inside a span; offsets and spans are both in order."""
    labels, spans_left = [IGNORED] * len(ids), iter(spans)
    start, end = next(spans_left, (0, 0))
    for position, (left, right) in enumerate(offsets):
        while left >= end and end:
            start, end = next(spans_left, (0, 0))
        if start <= left and right <= end and end:
            labels[position] = ids[position]
    return labels


def _encode(
    tokenizer: Any, dialogues: Sequence[Dialogue], *, assistant_only: bool
) -> list[tuple[list[int], list[int]]]:
    texts = [_render(tokenizer, dialogue) for dialogue in dialogues]
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=assistant_only)
    if not assistant_only:
        return [(ids, list(ids)) for ids in encoded["input_ids"]]
    rows = []
    for dialogue, text, ids, offsets in zip(
        dialogues, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        rows.append((ids, _label(ids, offsets, answer_spans(tokenizer, dialogue, text))))
    return rows


def _ends_of_turns(dialogue: Dialogue) -> list[int]:
    """Return the lengths, longest first, at which a dialogue can be cut so that it ends with an answer."""
    return [n + 1 for n in reversed(range(len(dialogue) - 1)) if dialogue[n]["role"] == "assistant"]


def _shorten(
    tokenizer: Any, dialogue: Dialogue, *, max_length: int, assistant_only: bool
) -> tuple[list[int], list[int]] | None:
    """Return the longest beginning of a dialogue that fits and still holds an answer, or None."""
    for turns in _ends_of_turns(dialogue):
        [(ids, labels)] = _encode(tokenizer, [dialogue[:turns]], assistant_only=assistant_only)
        if len(ids) <= max_length:
            return ids, labels
    first = min(position for position, message in enumerate(dialogue) if message["role"] == "assistant")
    [(ids, labels)] = _encode(tokenizer, [dialogue[: first + 1]], assistant_only=True)
    kept = sum(label != IGNORED for label in labels[:max_length])
    if kept < _LEAST_ANSWER:
        return None
    return ids[:max_length], labels[:max_length] if assistant_only else ids[:max_length]


def tokenise(
    tokenizer: Any, dialogues: Sequence[Dialogue], *, max_length: int, assistant_only: bool = True
) -> TokenRows:
    """Return token rows of at most `max_length` tokens; every row keeps at least one answer of the assistant."""
    kept: list[tuple[list[int], list[int]]] = []
    shortened = dropped = 0
    for dialogue, row in zip(dialogues, _encode(tokenizer, dialogues, assistant_only=assistant_only), strict=True):
        if len(row[0]) <= max_length:
            kept.append(row)
            continue
        shorter = _shorten(tokenizer, dialogue, max_length=max_length, assistant_only=assistant_only)
        if shorter is None:
            dropped += 1
        else:
            shortened += 1
            kept.append(shorter)
    return TokenRows(
        input_ids=[ids for ids, _labels in kept], labels=[labels for _ids, labels in kept],
        shortened=shortened, dropped=dropped,
    )  # fmt: skip
