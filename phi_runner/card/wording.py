"""The card in words: a figure in a sentence, and the few lines that a terminal shows."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from phi_runner.card.figures import Figure

if TYPE_CHECKING:
    from phi_runner.card.content import Card


def said(figure: Figure, *, confidence: float) -> str:
    """Return a figure in one sentence without a full stop."""
    start = f"{figure.about} {number(figure, figure.before)} -> {number(figure, figure.after)}"
    return f"{start}, difference {bounds(figure, confidence=confidence)}: {figure.verdict}"


def bounds(figure: Figure, *, confidence: float) -> str:
    """Return a difference with its interval and the rows behind it."""
    told = number(figure, figure.difference, sign=True)
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        ends = f"{number(figure, figure.low, sign=True)} to {number(figure, figure.high, sign=True)}"
        return f"{told} ({confidence:.0%} interval {ends}, {figure.rows} rows)"
    return f"{told} ({figure.rows} rows)"


def number(figure: Figure, value: float, *, sign: bool = False) -> str:
    """Return a number as its unit is read."""
    if not math.isfinite(value):
        return "no number"
    plus = "+" if sign else ""
    if figure.unit == "share":
        return f"{100 * value:{plus}.0f} %"
    return f"{value:{plus}.3g}" if figure.unit == "perplexity" else f"{value:{plus}.3f}"


def lines(card: "Card") -> Iterator[str]:
    """Yield the card as a terminal shows it: aligned columns, then what needs a word."""
    shown = [figure for figure in card.figures if figure.unit != "perplexity"]
    wide = max(len(figure.name) for figure in shown)
    yield f"{'':{wide}}  {'before':>9} {'after':>9} {'difference':>10}  {card.confidence:.0%} interval"
    for figure in shown:
        before, after, difference = (
            number(figure, figure.before), number(figure, figure.after), number(figure, figure.difference, sign=True)
        )  # fmt: skip
        ends = "none"
        if math.isfinite(figure.low) and math.isfinite(figure.high):
            ends = f"{number(figure, figure.low, sign=True)} to {number(figure, figure.high, sign=True)}"
        uncounted = "" if figure.counts else " (does not count)"
        yield (
            f"{figure.name:{wide}}  {before:>9} {after:>9} {difference:>10}  {ends:18} {figure.verdict}{uncounted}"
        )  # fmt: skip
    if card.loss_rose_rows or card.now_wrong_rows:
        yield (
            f"worse on {card.loss_rose_rows} of {card.held_out_rows} held-out rows; "
            f"{card.now_wrong_rows} answers were right and are wrong now"
        )


def short(text: str, *, most: int = 100) -> str:
    """Return a text in one line, cut."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
