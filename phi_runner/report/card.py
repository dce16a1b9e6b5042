"""The before/after card of a run: figures with their intervals, answers side by side."""

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.pages.pieces import Right, TableCell, Tone
from phi_runner.report import regressions
from phi_runner.report.run_folder import RunFolder, number, read_lines, rows, table, text

_MINUS = "\N{MINUS SIGN}"
ANSWERS = 200
"""Answers that a page shows; the file beside it has all."""
_OPEN = 8
_FIGURES = (
    ("held-out loss", "loss", "nats"),
    ("perplexity", "perplexity", "perplexity"),
    ("exact answers", "exact", "share"),
    ("prefers the chosen answer", "preferred", "share"),
)
_VERDICTS = {"better": Tone.good, "worse": Tone.bad}


def verdict_badge(verdict: str) -> Markup:
    """Return better, worse or no change as a badge."""
    return pieces.badge(verdict, tone=_VERDICTS.get(verdict, Tone.plain)) if verdict else Markup("")


def answers(run: RunFolder, *, most: int = ANSWERS) -> list[dict[str, Any]]:
    """Return the held-out prompts with the answers before and after."""
    folder = run.result("evaluate")
    return read_lines(folder / "answers.jsonl" if folder else None, most=most)


def prompt(row: dict[str, Any]) -> str:
    """Return what was asked last in a row of answers."""
    said = rows(row.get("messages"))
    return text(said[-1], "content") if said else ""


def figures(run: RunFolder) -> list[dict[str, Any]]:
    """Return each figure of the card: name, before, after, difference, low, high, verdict, where they are known."""
    told = rows(table(run.of_stage("evaluate", "card.json")).get("figures"))
    return told or list(_of_artifact(run.artifact("evaluate")))


def _of_artifact(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the bare figures of a result without a card, which an older version left."""
    for name, field, unit in _FIGURES:
        before, after = number(found, f"{field}_before"), number(found, f"{field}_after")
        if before is not None and after is not None:
            yield {"name": name, "before": before, "after": after, "difference": after - before, "unit": unit}


def section(run: RunFolder) -> Section | None:
    """Return the card of a run that has evaluated its model."""
    card, told, shown = table(run.of_stage("evaluate", "card.json")), figures(run), answers(run)
    if not told and not shown:
        return None
    body = pieces.join(
        _verdict(card),
        _table(told, confidence=number(card, "confidence")),
        _notes(card, told),
        regressions.tables(card),
        _answers(shown, total=number(run.artifact("evaluate"), "prompts")),
    )
    return Section(id="card", title="Before and after", body=body)


def _verdict(card: dict[str, Any]) -> Markup | None:
    said, words = text(card, "verdict"), text(card, "words")
    if not said and not words:
        return None
    line = Markup("{} {}").format(verdict_badge(said), arrow(words))
    return pieces.notice(pieces.paragraph(line), tone=_VERDICTS.get(said, Tone.plain))


def arrow(said: str) -> str:
    """Return a text of the terminal as a page writes it; `->` would be parted at a line's end."""
    return said.replace("->", "\N{RIGHTWARDS ARROW}")


def shown(value: float | None, *, unit: str, sign: bool = False) -> str:
    """Return a figure as its unit is read: shares in per cent, nats to three digits."""
    if value is None:
        return ""
    plus = "+" if sign else ""
    if unit == "share":
        told = f"{100 * value:{plus}.0f} %"
    else:
        told = f"{plus if value > 0 else ''}{pieces.number(value)}" if unit == "perplexity" else f"{value:{plus}.3f}"
    return told.replace("-", _MINUS)


def interval(figure: dict[str, Any]) -> str:
    """Return the confidence interval of a figure's difference."""
    low, high, unit = number(figure, "low"), number(figure, "high"), text(figure, "unit")
    return (
        ""
        if low is None or high is None
        else f"{shown(low, unit=unit, sign=True)} to {shown(high, unit=unit, sign=True)}"
    )


def _table(told: list[dict[str, Any]], *, confidence: float | None) -> Markup | None:
    if not told:
        return None
    lines: list[list[TableCell]] = []
    for figure in told:
        unit = text(figure, "unit")
        before, after = (Right(shown(number(figure, side), unit=unit)) for side in ("before", "after"))
        apart = Right(shown(number(figure, "difference"), unit=unit, sign=True))
        badge = verdict_badge(text(figure, "verdict"))
        if figure.get("counts") is False:
            badge = Markup("{} (does not count)").format(pieces.badge(text(figure, "verdict"), tone=Tone.plain))
        lines.append(
            [text(figure, "name"), before, after, apart, Right(interval(figure)), number(figure, "rows"), badge]
        )
    columns = ["figure", "before", "after", "difference", f"{confidence or 0:.0%} interval", "rows", ""]
    known = len(columns) if confidence else 4  # an older version's card has no intervals
    return pieces.table(columns[:known], [line[:known] for line in lines])


def _notes(card: dict[str, Any], told: list[dict[str, Any]]) -> Markup | None:
    """Return what the figures mean, and which make no sense here."""
    about = [f"{text(figure, 'name')}: {text(figure, 'about')}" for figure in told if text(figure, "about")]
    about += [f"{text(figure, 'name')}: {text(figure, 'note')}" for figure in told if text(figure, "note")]
    about += [f"{name} is not measured: {why}" for name, why in table(card.get("not_measured")).items()]
    return pieces.folded("What the figures mean", body=pieces.bullets(map(arrow, about))) if about else None


def _answers(found: list[dict[str, Any]], *, total: float | None) -> Markup | None:
    if not found:
        return None
    columns = ["prompt", "wanted", "before", "after"]
    lines = [[pieces.excerpt(prompt(row)), *(pieces.excerpt(text(row, side)) for side in columns[1:])] for row in found]
    count = f"{len(lines)} of {int(total)}" if total and total > len(lines) else f"{len(lines)}"
    more = lines[_OPEN:]
    return pieces.join(
        pieces.heading(f"Answers to {count} held-out prompts"),
        pieces.table(columns, lines[:_OPEN], stack=True),
        pieces.folded(f"The other {len(more)} answers", body=pieces.table(columns, more, stack=True), printed=False)
        if more
        else None,
    )
