"""How a template's turns look in token ids, learnt from examples, so that answers are found without offsets.

A form is used only where it is proven: on the first batch of dialogues it must give the labels of the exact way, token
by token, and in every batch the turns that it finds must be the dialogues' own, in their order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from phi_runner.model.tokens import exact
from phi_runner.model.tokens.block import Block, Cut, Ints, Positions, labelled, starts
from phi_runner.model.tokens.dialogues import Dialogue

_SPELLINGS = (
    ("<|assistant|>", ("<|system|>", "<|user|>", "<|assistant|>")),  # Phi-3, Phi-3.5, Phi-4-mini
    ("<|im_start|>assistant<|im_sep|>", ("<|im_start|>",)),  # Phi-4
)
"""What opens an answer, and the control tokens that open any turn."""
_PROBES = 4


class Turns(NamedTuple):
    """The turns of a batch: where each opens in its ids, whether the assistant speaks, how many each row has."""

    opens: Positions
    answers: "np.ndarray[Any, np.dtype[np.bool_]]"
    counts: Positions

    def of(self, row: int) -> "Turns":
        """Return the turns of one row."""
        end = int(self.counts[: row + 1].sum())
        mine = slice(end - int(self.counts[row]), end)
        return Turns(self.opens[mine], self.answers[mine], self.counts[row : row + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The ids that a template puts around the turns."""

    openings: Ints
    header: Ints
    """What comes before the assistant's words; begins with an opening."""
    system: bool
    """Whether system turns are written at all."""
    ending: Cut | None = None
    """What stands behind the last turn of a dialogue; None where that is not always the same."""

    def labels(self, ids: Ints, lengths: Ints, dialogues: Sequence[Dialogue]) -> tuple[Ints, Turns] | None:
        """Return the labels of a batch and its turns; None when what is found is not what the dialogues hold."""
        turns = self._turns(ids, lengths)
        wanted = [_speaks(dialogue, system=self.system) for dialogue in dialogues]
        counts = np.fromiter(map(len, wanted), np.int64, len(wanted))
        if not np.array_equal(counts, turns.counts):
            return None
        if not np.array_equal(np.array([turn for row in wanted for turn in row], np.bool_), turns.answers):
            return None
        ends = np.concatenate((turns.opens[1:], [len(ids)]))
        begins = turns.opens[turns.answers] + len(self.header)
        return labelled(ids, begins, ends[turns.answers]), turns

    def _turns(self, ids: Ints, lengths: Ints) -> Turns:
        opens = np.flatnonzero(np.isin(ids, self.openings))
        answers = np.ones(len(opens), np.bool_)
        for place, token in enumerate(self.header):
            there = np.minimum(opens + place, len(ids) - 1)
            answers &= ids[there] == token
        return Turns(opens, answers, np.diff(np.searchsorted(opens, starts(lengths))))

    def beginnings(self, row: Cut, *, turns: Turns, first: int) -> Iterator[Cut]:
        """Yield what is left of a dialogue cut behind each of its answers but the last, longest first.

        `turns` are the row's own, `first` is where the row begins in its batch.
        """
        for turn in reversed(range(len(turns.opens) - 1)):
            if turns.answers[turn] and self.ending is not None:
                end = turns.opens[turn + 1] - first
                yield Cut(
                    np.concatenate((row.ids[:end], self.ending.ids)),
                    np.concatenate((row.labels[:end], self.ending.labels)),
                )


def _speaks(dialogue: Dialogue, *, system: bool) -> list[bool]:
    """Say of each turn that the template writes whether the assistant speaks."""
    return [message["role"] == "assistant" for message in dialogue if system or message["role"] != "system"]


def learn(tokenizer: Any, dialogues: Sequence[Dialogue], *, known: Block) -> Form | None:
    """Return the form that gives `known`, the exact encoding of these dialogues; None where no form known here does."""
    for opener, tokens in _SPELLINGS:
        present = [tokenizer.backend_tokenizer.token_to_id(token) for token in tokens]
        openings = np.array([token for token in present if token is not None], np.int32)
        header = np.array(tokenizer.backend_tokenizer.encode(opener, add_special_tokens=False).ids, np.int32)
        if not len(openings) or header[0] not in openings:
            continue
        for system in (True, False):
            form = Form(openings=openings, header=header, system=system)
            found = form.labels(known.ids, known.lengths, dialogues)
            if found is not None and np.array_equal(found[0], known.labels):
                ending = _ending(tokenizer, dialogues, form=form)
                return Form(openings=openings, header=header, system=system, ending=ending)
    return None


def _ending(tokenizer: Any, dialogues: Sequence[Dialogue], *, form: Form) -> Cut | None:
    """Return what stands behind the last turn, from dialogues that are encoded as they are and with one turn more."""
    found: Cut | None = None
    for dialogue in dialogues[:_PROBES]:
        longer = [*dialogue, {"role": "user", "content": "Go on."}, {"role": "assistant", "content": "I do."}]
        short, long = exact.encode(tokenizer, [dialogue]), exact.encode(tokenizer, [longer])
        seen = form.labels(long.ids, long.lengths, [longer])
        if seen is None:
            return None
        end = seen[1].opens[-2]  # of the turn that came on top
        same = np.array_equal(short.ids[:end], long.ids[:end]) and np.array_equal(short.labels[:end], long.labels[:end])
        ending = Cut(short.ids[end:], short.labels[end:])
        if not same or (found is not None and not all(map(np.array_equal, found, ending))):
            return None
        found = ending
    return found
