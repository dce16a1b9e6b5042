"""Whether a card lets its model be registered."""

from typing import assert_never

from phi_runner.card.content import Card
from phi_runner.card.figures import QUESTION, Figure, Verdict
from phi_runner.card.wording import number, said
from phi_runner.config.schema import Gate
from phi_runner.errors import GateRefused

_LEAST_QUESTIONS = 20
"""Prompts from which on answers that ignore their questions are told from those that do not."""


def hold(card: Card, *, gate: Gate, name: str) -> str:
    """Say what lets the model pass; raises GateRefused, in figures and with what to type, where it does not."""
    match gate:
        case Gate.never:
            return "evaluate.gate=never: registered whatever the card says"
        case Gate.better:
            why, advice = _not_better(card)
        case Gate.not_worse:
            why, advice = _worse(card)
        case unknown:
            assert_never(unknown)
    if why:
        raise GateRefused(
            f"{name} is not registered: {why}; evaluate.gate={gate} does not let it pass: {advice}, or type "
            f"{'evaluate.gate=not_worse or ' if gate is Gate.better and _passes(card) else ''}evaluate.gate=never"
        )
    return f"passes evaluate.gate={gate}: {card.words}"


def _passes(card: Card) -> bool:
    """Say whether the weaker gate would let the model pass."""
    return not _worse(card)[0]


def _not_better(card: Card) -> tuple[str, str]:
    """Return why a card does not say better, and what might make it."""
    figure = card.figure(card.decided_by)
    told = said(figure, confidence=card.confidence) if figure else "nothing was measured"
    match card.verdict:
        case Verdict.better:
            return _ignores_questions(card)
        case Verdict.too_few:
            return told, "hold out more rows (a larger data.eval_fraction or data.take)"
        case Verdict.no_change:
            return told, "train longer or with a larger train.learning_rate"
        case Verdict.worse:
            return told, "look at the rows in card.json, train with a smaller train.learning_rate or on other data"
        case unknown:
            assert_never(unknown)


def _ignores_questions(card: Card) -> tuple[str, str]:
    """Return why answers that ignore their questions are no better answers, however likely they became."""
    figure = card.figure(QUESTION)
    if figure is None or figure.rows < _LEAST_QUESTIONS or figure.after_low is None or figure.after_low > 0:
        return "", ""
    ends = f"{number(figure, figure.after_low, sign=True)} to {number(figure, figure.after_high or 0.0, sign=True)}"
    return (
        f"its answers do not depend on the questions: their own question saves them "
        f"{number(figure, figure.after)} nats per token over another row's ({card.confidence:.0%} interval {ends}, "
        f"{figure.rows} rows), though the {card.words}"
    ), "look whether the answers in the data belong to their questions, or train longer"


def _worse(card: Card) -> tuple[str, str]:
    """Return what got worse, and what might help."""
    worse: list[Figure] = [figure for figure in card.figures if figure.counts and figure.verdict is Verdict.worse]
    told = "; ".join(said(figure, confidence=card.confidence) for figure in worse if figure.unit != "perplexity")
    return told, "look at the rows in card.json, train with a smaller train.learning_rate or on other data"
