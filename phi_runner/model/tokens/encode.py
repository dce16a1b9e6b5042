"""A batch of dialogues to token rows within the length limit: rendered once, encoded once, labelled, cut."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from phi_runner.errors import TrainFailed
from phi_runner.model.tokens import exact, form, spans
from phi_runner.model.tokens.block import Block, Cut, starts
from phi_runner.model.tokens.dialogues import Dialogue
from phi_runner.model.tokens.form import Form, Turns
from phi_runner.model.tokens.shorten import fitted

_EXAMPLES = 64
"""Dialogues on which the fast way has to equal the exact one, token by token."""


class Encoder:
    """Encodes batches; what it has learnt about the template from the first one makes the others fast.

    After `learn`, `encode` may be called from several threads.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, assistant_only: bool) -> None:
        self._tokenizer = tokenizer
        self._core = tokenizer.backend_tokenizer
        self._core.no_truncation()  # as tokenizer(...) does: what a saved tokenizer cuts or pads is not for training
        self._core.no_padding()
        self._max_length = max_length
        self._assistant_only = assistant_only
        self._form: Form | None = None
        self._tells = True
        """Whether the template lets the assistant's words be told apart at all."""

    def learn(self, dialogues: Sequence[Dialogue]) -> None:
        """Learn the template's form; raises TrainFailed when the assistant's words cannot be told apart and must be."""
        examples = dialogues[:_EXAMPLES]
        try:
            known = exact.encode(self._tokenizer, examples)
        except TrainFailed:
            if self._assistant_only:
                raise
            self._tells = False
        else:
            self._form = form.learn(self._tokenizer, examples, known=known)

    def encode(self, dialogues: Sequence[Dialogue]) -> Block:
        """Return rows of at most the longest length, in order, each with an answer; labels say what is learnt."""
        whole, turns = self._whole(dialogues)
        beginnings = partial(self._beginnings, whole, dialogues, turns)
        rows = fitted(whole, max_length=self._max_length, beginnings=beginnings)
        return rows if self._assistant_only else replace(rows, labels=rows.ids)

    def _whole(self, dialogues: Sequence[Dialogue]) -> tuple[Block, Turns | None]:
        """Return whole dialogues labelled on the assistant's words, and their turns where the fast way found them."""
        texts = spans.render(self._tokenizer, dialogues)
        ids, lengths = exact.flat(self._core.encode_batch_fast(texts, add_special_tokens=False))
        seen = self._form.labels(ids, lengths, dialogues) if self._form else None
        if seen is not None:
            return Block(ids=ids, labels=seen[0], lengths=lengths), seen[1]
        if self._tells and (self._assistant_only or lengths.max() > self._max_length):
            return exact.encode(self._tokenizer, dialogues), None
        return Block(ids=ids, labels=ids, lengths=lengths), None

    def _beginnings(
        self, whole: Block, dialogues: Sequence[Dialogue], turns: Turns | None, position: int
    ) -> Iterator[Cut]:
        """Yield a dialogue, then its beginnings that end with an answer, longest first."""
        first, end = starts(whole.lengths)[position : position + 2].tolist()
        row = Cut(whole.ids[first:end], whole.labels[first:end])
        yield row
        if turns is not None and self._form is not None and self._form.ending is not None:
            yield from self._form.beginnings(row, turns=turns.of(position), first=first)
            return
        dialogue = dialogues[position]
        for turn in reversed(range(len(dialogue) - 1)):
            if dialogue[turn]["role"] == "assistant":
                yield self._alone(dialogue[: turn + 1])

    def _alone(self, dialogue: Dialogue) -> Cut:
        if self._tells:
            alone = exact.encode(self._tokenizer, [dialogue])
            return Cut(alone.ids, alone.labels)
        [text] = spans.render(self._tokenizer, [dialogue])
        ids = np.array(self._core.encode(text, add_special_tokens=False).ids, np.int32)
        return Cut(ids, ids)
