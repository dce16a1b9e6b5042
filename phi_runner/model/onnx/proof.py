"""Whether an exported model says what transformers says: the same questions, and texts across every border."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phi_runner.errors import DeployFailed
from phi_runner.model.engines.batch import STEP_TOKENS
from phi_runner.model.engines.memory import Segment
from phi_runner.model.onnx.agreement import Agreement
from phi_runner.model.onnx.decoder import BROKEN, Decoder
from phi_runner.model.onnx.draw import Floats
from phi_runner.model.onnx.facts import Facts
from phi_runner.model.onnx.prompts import Prompts
from phi_runner.model.parity import Witness

_BEYOND = 8
_LEAST_CORRELATION = 0.3
"""Weights of 4 bits keep 0.95 and more, 0.7 in the smallest models; a broken export keeps nothing."""
_INSTEAD = "type deploy.engine=transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText:
    """A text of made-up tokens, and transformers' scores behind its last one."""

    tokens: list[int]
    scores: Floats


def long_texts(model: Any, facts: Facts) -> list[LongText]:
    """Ask transformers about texts that cross the borders which short questions never reach."""
    import torch

    window = getattr(model.config, "sliding_window", None) or facts.context
    found = []
    for border in sorted({border for border in (window, facts.rope_switch) if border and border < facts.context}):
        length = min(border + _BEYOND, facts.context)
        chance = np.random.default_rng(0)
        tokens = [int(token) for token in chance.integers(0, model.config.vocab_size, size=length)]
        with torch.inference_mode():
            scores = model(torch.tensor([tokens]), use_cache=False, logits_to_keep=1).logits[0, -1]
        found.append(LongText(tokens=tokens, scores=scores.float().numpy()))
    return found


def compared(folder: Path, before: Witness, texts: Sequence[LongText]) -> Agreement:
    """Compare an exported folder with what transformers said, and write the result beside it.

    Raises DeployFailed when fp32 is not the same up to rounding, or when any precision is no longer this model.
    """
    decoder = Decoder(folder)
    _same_prompts(folder, decoder, before)
    try:
        agreement = _agreement(decoder, before, texts)
    except BROKEN as err:
        said = " ".join(str(err).split())[:200]
        raise DeployFailed(f"onnxruntime cannot run the exported model ({said}): {_INSTEAD}") from err
    agreement.write(folder)
    return agreement


def _same_prompts(folder: Path, decoder: Decoder, before: Witness) -> None:
    prompts = Prompts(folder, context=decoder.facts.context)
    for question, prompt in zip(before.questions, before.prompts, strict=True):
        if prompts.tokenise(question, max_new_tokens=1) != prompt[0].tolist():
            raise DeployFailed(f"the exported tokenizer or chat template gives other prompts: {_INSTEAD}")


def _agreement(decoder: Decoder, before: Witness, texts: Sequence[LongText]) -> Agreement:
    tally = _Tally()
    for row, (prompt, said, logits) in enumerate(zip(before.prompts, before.said, before.logits, strict=True)):
        tokens, begin = said[0].tolist(), prompt.shape[1]
        scores = _scores(decoder, tokens, begin=begin)
        tally.compare(scores, logits[begin - 1 : -1].numpy(), said=tokens[begin:], tie=before.has_tie(row))
    for text in texts:
        tally.mine.append(_scores(decoder, text.tokens, begin=len(text.tokens)))
        tally.theirs.append(text.scores[None])
    agreement = Agreement(
        precision=decoder.facts.precision, questions=len(before.questions),
        greedy_match=tally.matched / len(before.questions), same_tokens=tally.same / max(tally.tokens, 1),
        max_logit_difference=max(float(np.abs(a - b).max()) for a, b in zip(tally.mine, tally.theirs, strict=True)),
        limit=before.limit, correlation=_correlation(np.concatenate(tally.mine), np.concatenate(tally.theirs)),
        long_texts=[len(text.tokens) for text in texts],
    )  # fmt: skip
    _refuse(agreement, unexplained=tally.unexplained)
    return agreement


@dataclass(slots=True)
class _Tally:
    """What was compared so far."""

    mine: list[Floats] = field(default_factory=list)
    theirs: list[Floats] = field(default_factory=list)
    matched: int = 0
    same: int = 0
    tokens: int = 0
    unexplained: int = 0
    """Answers that differ without a tie that rounding might decide."""

    def compare(self, mine: Floats, theirs: Floats, *, said: Sequence[int], tie: bool) -> None:
        """Take the scores of one answer's positions, and what transformers chose there."""
        likeliest = mine.argmax(-1).tolist()
        differs = [at for at, token in enumerate(said) if likeliest[at] != token]
        self.matched += not differs
        self.same += differs[0] if differs else len(said)
        self.tokens += len(said)
        self.unexplained += bool(differs) and not tie
        self.mine.append(mine)
        self.theirs.append(theirs)


def _refuse(agreement: Agreement, *, unexplained: int) -> None:
    if not agreement.correlation >= _LEAST_CORRELATION:  # not so for what is not a number
        raise DeployFailed(f"the exported model is another one than transformers': {agreement}; {_INSTEAD}")
    near = agreement.max_logit_difference <= agreement.limit
    if agreement.precision == "fp32" and (unexplained or not near):
        raise DeployFailed(
            f"the exported model answers otherwise than transformers: {agreement} (limit {agreement.limit:.1e}); "
            f"{_INSTEAD}"
        )


def _scores(decoder: Decoder, tokens: list[int], *, begin: int) -> Floats:
    """Return the scores of what follows each token, from the last one before `begin` to the last but one of all.

    Shape (positions, vocabulary), one position at least. The text is read as the engine does, piece by piece up to
    `begin` and then token by token.
    """
    memory = decoder.memory(budget=0)
    row = memory.take(len(tokens))
    assert row is not None  # noqa: S101 - the first one always fits
    memory.restart(row, tokens=begin)
    pieces = [tokens[at : min(at + STEP_TOKENS, begin)] for at in range(0, begin, STEP_TOKENS)]
    pieces += [[token] for token in tokens[begin:-1]]
    found = []
    for piece in pieces:
        segment = Segment(row=row, tokens=piece)
        found.append(decoder.forward([segment], asked=[segment])[0])
    return np.stack(found[len(found) - max(len(tokens) - begin, 1) :])


def _correlation(mine: Floats, theirs: Floats) -> float:
    return float(np.corrcoef(mine.ravel().astype(np.float64), theirs.ravel().astype(np.float64))[0, 1])
