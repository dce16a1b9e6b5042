"""What stands in a page: tables, lists of names and values, code, badges, notices. All text is escaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from markupsafe import Markup

from phi_runner.pages.frame import templates

NUMBER, TEXT = "number", "text"
"""Classes of cells."""
_LONG = 40


class Tone(StrEnum):
    """How a badge or a notice is meant."""

    good = "good"
    bad = "bad"
    warn = "warn"
    plain = "plain"


@dataclass(frozen=True, slots=True)
class Right:
    """A figure that is written out already: set right, under its like."""

    content: str


@dataclass(frozen=True, slots=True)
class Text:
    """A cell of running text that keeps its line ends and wraps: an answer, a prompt."""

    content: str


Cell: TypeAlias = str | Markup | int | float | None
"""One value: numbers are set right and shortened, None is left empty."""
TableCell: TypeAlias = Cell | Text | Right


@dataclass(frozen=True, slots=True)
class _Cell:
    content: str | Markup
    kind: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Column:
    title: str | Markup
    number: bool


def number(value: float | None) -> str:
    """Return a number as a person reads it: thousands apart, four significant digits; `-` for what is not known."""
    if value is None or value != value:
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10_000 else f"{value:.4g}"


def excerpt(said: str, *, most: int = 600) -> Text:
    """Return running text as a cell, cut where it is longer than a page should show; an empty one says so."""
    return Text("(nothing)" if not said.strip() else said if len(said) <= most else said[: most - 1] + "…")


def _cell(item: TableCell, *, label: str) -> _Cell:
    if item is None:
        return _Cell("")
    if isinstance(item, Right):
        return _Cell(item.content, NUMBER, label)
    if isinstance(item, Text):
        return _Cell(item.content, TEXT, label)
    if isinstance(item, bool):
        return _Cell("yes" if item else "no", "", label)
    if isinstance(item, int | float):
        return _Cell(number(item), NUMBER, label)
    return _Cell(item, "long" if not isinstance(item, Markup) and len(item) > _LONG else "", label)


def _is_number(item: TableCell) -> bool:
    return isinstance(item, int | float | Right) and not isinstance(item, bool)


def table(
    columns: Sequence[str | Markup],
    rows: Iterable[Sequence[TableCell]],
    *,
    caption: str = "",
    stack: bool = False,
) -> Markup:
    """Return a table that scrolls sideways where it is too wide.

    `stack=True` makes each row a block of its own on a phone; choose it where cells hold sentences.
    """
    found = [list(row) for row in rows]
    heads = []
    for place, title in enumerate(columns):
        items = [row[place] for row in found if row[place] is not None]
        heads.append(_Column(title, bool(items) and all(_is_number(item) for item in items)))
    labels = [Markup(title).striptags() for title in columns]  # noqa: S704 (tags go, and autoescape follows)
    cells = [[_cell(item, label=label) for item, label in zip(row, labels, strict=True)] for row in found]
    cells = [[_under(head, item) for head, item in zip(heads, row, strict=True)] for row in cells]
    if stack:  # a block's first line is its heading and needs no name, unless it is running text
        cells = [[first if first.kind == TEXT else replace(first, label=""), *rest] for first, *rest in cells]
    return _macro("table", heads, cells, caption, stack)


def _under(head: _Column, cell: _Cell) -> _Cell:
    """Set a number left where its column holds texts too."""
    return cell if head.number or cell.kind != NUMBER else replace(cell, kind="")


def pairs(items: Iterable[tuple[str, Cell]]) -> Markup:
    """Return names with their values; those without a value (None) are left out."""
    return _macro("pairs", [(name, _cell(value, label="").content) for name, value in items if value is not None])


def _macro(name: str, *arguments: object) -> Markup:
    made: Markup = getattr(templates().get_template("pieces.html").module, name)(*arguments)
    return made


def join(*parts: str | Markup | None) -> Markup:
    """Return the parts one after the other; None and empty ones are left out."""
    return Markup("\n").join(part for part in parts if part)


def paragraph(text: str | Markup, *, note: bool = False) -> Markup:
    """Return a paragraph; `note=True` sets it back."""
    return Markup('<p class="note">{}</p>').format(text) if note else Markup("<p>{}</p>").format(text)


def heading(text: str) -> Markup:
    """Return a heading inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def bullets(items: Iterable[str | Markup]) -> Markup:
    """Return a list with a dot before each item."""
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(item) for item in items))


def badge(text: str, *, tone: Tone = Tone.plain) -> Markup:
    """Return one or two words on a coloured ground; the words alone must say it, print has no colours."""
    return Markup('<span class="badge {}">{}</span>').format(tone.value, text)


def notice(body: str | Markup, *, tone: Tone = Tone.plain) -> Markup:
    """Return a box that the eye meets first: a failure, a warning, what to type next."""
    inner = body if isinstance(body, Markup) else paragraph(body)
    return Markup('<div class="notice {}">{}</div>').format(tone.value, inner)


def code(text: str) -> Markup:
    """Return code that scrolls sideways and can be copied as it stands."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(text)


def word(text: str) -> Markup:
    """Return a name, a path or a setting within a sentence or a cell."""
    return Markup("<code>{}</code>").format(text)


def link(text: str, *, to: str) -> Markup:
    """Return a link to an anchor (`#id`), a file beside the page or an address."""
    return Markup('<a href="{}">{}</a>').format(to, text)


def folded(title: str, *, body: Markup, printed: bool = True) -> Markup:
    """Return what is seen when its title is clicked; in print always, unless it is so long that it stays folded."""
    start = Markup('<details class="printed">') if printed else Markup("<details>")
    return start + Markup("<summary>{}</summary>{}</details>").format(title, body)
