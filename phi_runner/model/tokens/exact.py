"""Dialogues to ids and labels by character offsets: right for every template, and what the fast way must equal."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from phi_runner.model.tokens import spans
from phi_runner.model.tokens.block import Block, Ints, labelled, starts
from phi_runner.model.tokens.dialogues import Dialogue


def encode(tokenizer: Any, dialogues: Sequence[Dialogue]) -> Block:
    """Return whole dialogues, labelled on the assistant's words; raises TrainFailed where they cannot be told apart."""
    texts = spans.render(tokenizer, dialogues)
    encodings = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    ids, lengths = flat(encodings)
    first = starts(lengths)
    begins, ends = [], []
    for position, found in enumerate(spans.answers(tokenizer, dialogues, texts)):
        for span in found:
            begin, end = _tokens(encodings[position], span, length=len(texts[position]))
            if begin < end:
                begins.append(first[position] + begin)
                ends.append(first[position] + end)
    return Block(ids=ids, labels=labelled(ids, np.array(begins, np.int64), np.array(ends, np.int64)), lengths=lengths)


def flat(encodings: Sequence[Any]) -> tuple[Ints, Ints]:
    """Return the ids of all encodings, one behind the other, and how many each has."""
    lengths = np.fromiter(map(len, encodings), np.int32, len(encodings))
    each = (encoding.ids for encoding in encodings)
    return np.fromiter(chain.from_iterable(each), np.int32, int(lengths.sum())), lengths


def _tokens(encoding: Any, span: tuple[int, int], *, length: int) -> tuple[int, int]:
    """Return the tokens that lie inside a span of characters, as a range.

    A control token that swallows blanks reaches into the turn it opens; it begins before the span, so it is left out.
    """
    start, end = span
    begin = _token_from(encoding, start, until=end)
    while begin < len(encoding) and encoding.token_to_chars(begin)[0] < start:
        begin += 1
    return begin, _token_from(encoding, end, until=length)


def _token_from(encoding: Any, start: int, *, until: int) -> int:
    """Return the token of the first character from `start` on that has one, or the end of all tokens."""
    found = (encoding.char_to_token(character) for character in range(start, until))
    return next((token for token in found if token is not None), len(encoding))
