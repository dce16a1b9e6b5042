"""The pages that a person reads, taken apart: code, commands, tables, and the examples under a heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_COMMAND = re.compile(r"python -m phi_runner|phi-runner |\.\.\. (.* )?[+\w./]+=")


class Block(NamedTuple):
    """A fenced piece of code."""

    language: str
    text: str


def text(page: Path) -> str:
    """Return what stands in a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """Return the fenced pieces of code."""
    return [Block(found[2], found[3]) for found in _FENCE.finditer(text(page))]


def inline(page: Path) -> list[str]:
    """Return what stands in backticks within prose, tables and headings, in one line each."""
    return [" ".join(found[2].split()) for found in _INLINE.finditer(_FENCE.sub("", text(page)))]


def commands(page: Path) -> Iterator[str]:
    """Yield every command of phi_runner: fenced or indented lines, and what stands in backticks.

    Left out are the form of a command, with words like KEY=VALUE or [FLAGS], and what a Tab would complete.
    """
    lines = (line.strip().removeprefix("$ ") for line in text(page).replace("\\\n", " ").splitlines())
    for line in (*lines, *inline(page)):
        if _COMMAND.match(line) and not re.search(r"[A-Z]=|\[FLAGS\]|⇥| [A-Z]+ ", line.partition("#")[0]):
            yield line


def section(page: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]


def tables(page: Path) -> Iterator[list[str]]:
    """Yield the cells of every row of every table, the heads left out."""
    lines = [line for line in text(page).splitlines() if line.startswith("|")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not set(line) <= set("|-: ") and not (set(following) <= set("|-: ") and following):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
