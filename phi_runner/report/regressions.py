"""What got worse, prompt by prompt: where the loss rose most, and what was right and is wrong now."""

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.report.run_folder import number, rows, text


def tables(card: dict[str, Any]) -> Markup | None:
    """Return the worst rows of a card; nothing where nothing got worse."""
    found = list(_tables(card))
    return pieces.join(*found) if found else None


def _tables(card: dict[str, Any]) -> Iterator[Markup]:
    rose, wrong = rows(card.get("loss_rose")), rows(card.get("now_wrong"))
    if rose:
        yield pieces.heading(f"Loss rose on {_count(card, 'loss_rose_rows', rose)}, most on")
        lines = [
            [_text(row, "question"), _text(row, "answer"), number(row, "loss_before"), number(row, "loss_after")]
            for row in rose
        ]
        yield pieces.table(["prompt", "wanted", "loss before", "loss after"], lines, stack=True)
    if wrong:
        yield pieces.heading(f"Right before, wrong now: {_count(card, 'now_wrong_rows', wrong)}")
        columns = ["prompt", "wanted", "before", "after"]
        lines = [[_text(row, "question"), *(_text(row, side) for side in columns[1:])] for row in wrong]
        yield pieces.table(columns, lines, stack=True)


def _count(card: dict[str, Any], name: str, found: list[dict[str, Any]]) -> str:
    total = int(number(card, name) or len(found))
    return f"{total} held-out row{'' if total == 1 else 's'}"


def _text(row: dict[str, Any], name: str) -> pieces.Text:
    return pieces.excerpt(text(row, name))
