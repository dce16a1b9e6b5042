"""From what was measured of two models to the card: figures with intervals, regressions, and a verdict."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phi_runner.card import words
from phi_runner.card.content import Card
from phi_runner.card.figures import QUESTION, Figure, Verdict, of_gains, of_losses, of_scores, perplexity_of
from phi_runner.card.intervals import Chance, Ratio
from phi_runner.card.measuring import Asked, Measures
from phi_runner.card.question import last_answer
from phi_runner.card.regressions import loss_rose, now_wrong
from phi_runner.card.task_figures import of_tasks
from phi_runner.card.wording import said
from phi_runner.errors import EvaluateFailed
from phi_runner.model.measure import Losses
from phi_runner.model.tokens import TokenRows

_ANSWERED: tuple[tuple[str, str, Callable[[str, str], float]], ...] = (
    ("exact", "answers that are the data's, word for word", words.exact),
    ("token_f1", "words shared with the data's answer (F1)", words.token_f1),
    ("rouge_l", "words in the order of the data's answer (ROUGE-L)", words.rouge_l),
)
_SCRATCH = "the base has random weights: it had nothing to forget, so this says little"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the card is told besides the measures."""

    decides: str
    """Name of the figure that decides."""
    from_scratch: bool
    """The base is made of random weights."""
    seed: int


def table_of(asked: Asked, before: Measures, after: Measures) -> list[dict[str, Any]]:
    """Return the prompts with both answers, as `answers.jsonl` has them."""
    limit = asked.config.max_new_tokens
    found = []
    for row, dialogue in enumerate(asked.prompts):
        question, wanted = last_answer(dialogue)
        found.append(
            {
                "messages": list(question),
                "wanted": wanted,
                "before": before.answers[row],
                "after": after.answers[row],
                "max_new_tokens": limit,
                "comparable": before.wanted_tokens[row] < limit,
            }
        )
    return found


def card_of(asked: Asked, before: Measures, after: Measures, *, known: Known, rows: TokenRows, tokenizer: Any) -> Card:
    """Return the card; raises EvaluateFailed where the two models did not see the same rows."""
    if len(before.held_out.sums) != len(after.held_out.sums):
        raise EvaluateFailed(
            f"the base's tokenizer makes {len(before.held_out.sums)} rows of the held-out dialogues and the trained "
            f"model's {len(after.held_out.sums)}: type a larger train.max_length"
        )
    config = asked.config
    chance = Chance(config.confidence, config.resamples, known.seed)
    table = table_of(asked, before, after)
    figures = [*_figures(before, after, chance=chance, known=known), *_answered(table, chance=chance)]
    figures += of_tasks(before.scores, after.scores, chance=chance)
    risen = loss_rose(before.held_out, after.held_out, rows=rows, tokenizer=tokenizer)
    wrong = now_wrong(table)
    names = {figure.name for figure in figures}
    decides = known.decides if known.decides in names else "loss"
    card = Card(
        decided_by=decides, verdict=Verdict.too_few, words="", figures=figures,
        not_measured=dict(_not_measured(table, names=names, asked=asked)), loss_rose=risen.rows,
        loss_rose_rows=risen.total, now_wrong=wrong.rows, now_wrong_rows=wrong.total,
        probe={"source": config.probe_file or "shipped", "rows": len(asked.probe)} if asked.probe else None,
        judge=None, confidence=config.confidence, resamples=config.resamples, seed=known.seed,
        held_out_rows=len(before.held_out.sums), prompts=len(table),
        seconds={"before": before.seconds, "after": after.seconds},
    )  # fmt: skip
    return judged_by(card)


def judged_by(card: Card) -> Card:
    """Return the card with its verdict in a word and in a sentence."""
    figure = card.figure(card.decided_by)
    if figure is None:
        raise EvaluateFailed(f"the card has no {card.decided_by}")
    return replace(card, verdict=figure.verdict, words=said(figure, confidence=card.confidence))


def _figures(before: Measures, after: Measures, *, chance: Chance, known: Known) -> Iterator[Figure]:
    loss = of_losses(
        "loss", "held-out loss", before=_of(before.held_out), after=_of(after.held_out), chance=chance
    )  # fmt: skip
    yield loss
    yield perplexity_of(loss)
    if before.preferred and len(before.preferred) == len(after.preferred):
        early, late = ([float(each) for each in side.preferred] for side in (before, after))
        yield of_scores(
            "preferred", "pairs whose chosen answer is the likelier one", before=early, after=late, chance=chance
        )  # fmt: skip
    if before.own and before.other and after.own and after.other and len(before.own.sums) == len(after.own.sums):
        yield of_gains(
            QUESTION, "nats per token that its own question saves an answer",
            before=(_of(before.other), _of(before.own)), after=(_of(after.other), _of(after.own)), chance=chance,
        )  # fmt: skip
    if before.probe and after.probe and len(before.probe.sums) == len(after.probe.sums):
        yield of_losses(
            "probe", "loss on text outside the task", before=_of(before.probe), after=_of(after.probe), chance=chance,
            counts=not known.from_scratch, note=_SCRATCH if known.from_scratch else "",
        )  # fmt: skip


def _of(losses: Losses) -> Ratio:
    return Ratio(sums=losses.sums, counts=[float(count) for count in losses.tokens])


def _answered(table: Sequence[dict[str, Any]], *, chance: Chance) -> Iterator[Figure]:
    rows = [row for row in table if row["comparable"]]
    if not rows:
        return
    note = "" if len(rows) == len(table) else f"{len(table) - len(rows)} of {len(table)} references are too long"
    for name, about, score in _ANSWERED:
        early, late = ([score(row[side], row["wanted"]) for row in rows] for side in ("before", "after"))
        yield of_scores(name, about, before=early, after=late, chance=chance, note=note)


def _not_measured(table: Sequence[dict[str, Any]], *, names: set[str], asked: Asked) -> Iterator[tuple[str, str]]:
    """Yield what the card lacks and why."""
    why = "evaluate.prompts=0 asks for no answers"
    if table:
        limit = asked.config.max_new_tokens
        why = f"all {len(table)} references have evaluate.max_new_tokens={limit} tokens or more"
    yield from ((name, why) for name, _about, _score in _ANSWERED if name not in names)
    if QUESTION not in names:
        yield QUESTION, "no two prompts differ in question and answer, or none fits" if table else why
    if "probe" not in names:
        yield "probe", "evaluate.probe=false" if not asked.config.probe else "its text does not fit"
