"""Every text in the code, with `…` where a value goes: what the troubleshooting page's headings are held against."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

VALUE = "…"
"""Stands for a value that a message is told with."""
_PACKAGE = Path(__file__).resolve().parents[2] / "phi_runner"


@cache
def texts() -> tuple[str, ...]:
    """Return every string of the package, those made of several pieces as one."""
    return tuple(text for file in sorted(_PACKAGE.rglob("*.py")) for text in _of(file))


def occurs(fragment: str, *, among: tuple[str, ...]) -> bool:
    """Say whether the parts of a fragment between its values stand in one of the texts, in this order."""
    return any(_holds(text, fragment.split(VALUE)) for text in among)


def _holds(text: str, parts: list[str]) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
