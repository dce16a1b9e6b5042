"""Cards made by hand from losses and scores, for tests."""

from collections.abc import Sequence
from dataclasses import replace

from phi_runner.card.assembly import judged_by
from phi_runner.card.content import Card
from phi_runner.card.figures import QUESTION, Figure, Verdict, of_gains, of_losses, of_scores, perplexity_of
from phi_runner.card.intervals import Chance, Ratio

CHANCE = Chance(0.95, 1000, 0)
ROWS = 24


def ratio(losses: Sequence[float], *, tokens: float = 10.0) -> Ratio:
    """Return rows of equal length with these losses per token."""
    return Ratio(sums=[loss * tokens for loss in losses], counts=[tokens] * len(losses))


def spread(mean: float, *, rows: int = ROWS, wide: float = 0.2) -> list[float]:
    """Return values around a mean, evenly apart."""
    return [mean + wide * (2 * row / max(1, rows - 1) - 1) for row in range(rows)]


def loss(before: float, after: float, *, name: str = "loss", rows: int = ROWS, counts: bool = True) -> Figure:
    """Return a loss that moved about evenly on all rows."""
    early = spread(before, rows=rows)
    late = [each + after - before + (0.02 if row % 2 else -0.02) for row, each in enumerate(early)]
    return of_losses(
        name, "held-out loss", before=ratio(early), after=ratio(late), chance=CHANCE, counts=counts
    )  # fmt: skip


def gain(after: float, *, rows: int = ROWS) -> Figure:
    """Return what its own question saves an answer after training; nothing before."""
    still = ratio([6.0] * rows)
    own = ratio(spread(6.0 - after, rows=rows))
    return of_gains(
        QUESTION, "nats that its own question saves", before=(still, still), after=(still, own), chance=CHANCE
    )


def shares(name: str, before: float, after: float, *, rows: int = ROWS) -> Figure:
    """Return a share of rows that are right."""
    early, late = ([float(row < share * rows) for row in range(rows)] for share in (before, after))
    return of_scores(name, f"{name} answers", before=early, after=late, chance=CHANCE)


def card(*figures: Figure, decided_by: str = "loss") -> Card:
    """Return a card of these figures; a loss brings its perplexity."""
    found = [*figures, *(perplexity_of(figure) for figure in figures if figure.name == "loss")]
    bare = Card(
        decided_by=decided_by, verdict=Verdict.too_few, words="", figures=found, not_measured={}, loss_rose=[],
        loss_rose_rows=0, now_wrong=[], now_wrong_rows=0, probe=None, judge=None, confidence=0.95, resamples=1000,
        seed=0, held_out_rows=ROWS, prompts=0,
    )  # fmt: skip
    return judged_by(replace(bare))
