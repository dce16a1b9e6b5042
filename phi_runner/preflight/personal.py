"""What looks personal in a text, in any language, and the text without it."""

import re
from collections.abc import Callable, Iterator

from phi_runner.preflight.numbers import Span, addresses, cards, ibans, phones
from phi_runner.preflight.secrets import secrets

_EMAIL = re.compile(r"(?<![\w.+%@-])[\w.+%-]{1,64}@((?:[\w-]{1,63}\.)+([^\W\d_]{2,24}))(?![\w@-])")
_NOBODYS = re.compile(r"(?i)(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|local)$")
_FILES = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "css", "ts", "py", "md", "txt", "json", "html"]
)
_PROGRAMS = frozenset({"git", "hg", "svn"})
_DIGITS = re.compile(r"\d(?:[\s()./-]{0,3}\d){6}")
_DOTS = re.compile(r"\d\.\d{1,3}\.\d|[0-9A-Fa-f]:{1,2}[0-9A-Fa-f]{1,4}:")
_HIDDEN = "●●●●●●"
_SHOWN = 2


def emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses that may be somebody's."""
    if "@" not in text:
        return
    for found in _EMAIL.finditer(text):
        nobodys = _NOBODYS.search(found[1]) or found[2].lower() in _FILES or found[0].split("@")[0] in _PROGRAMS
        if not nobodys:
            yield found.span()


DETECTORS: dict[str, Callable[[str], Iterator[Span]]] = {
    "key": secrets, "email": emails, "iban": ibans, "card": cards, "ip": addresses, "phone": phones,
}  # fmt: skip
"""By the name of the finding; a place that an earlier one claims is not looked at by the later ones."""
_NUMBERS = frozenset({"iban", "card", "phone"})


def personal(text: str) -> dict[str, list[Span]]:
    """Return where something personal stands, by its kind."""
    numbers, dotted = bool(_DIGITS.search(text)), bool(_DOTS.search(text))
    taken: list[Span] = []
    found: dict[str, list[Span]] = {}
    for kind, detect in DETECTORS.items():
        if (kind in _NUMBERS and not numbers) or (kind == "ip" and not dotted):
            continue
        spans = [span for span in detect(text) if not any(a < span[1] and span[0] < b for a, b in taken)]
        if spans:
            found[kind] = spans
            taken += spans
    return found


def masked(text: str, *, begin: int = 0, end: int | None = None) -> str:
    """Return a piece of a text with all that looks personal hidden but for its first characters."""
    stop = len(text) if end is None else min(end, len(text))
    parts, done = [], begin
    for first, last in sorted(span for found in personal(text).values() for span in found):
        if first < stop and last > done:
            parts += [text[done : max(done, first + _SHOWN)] if first >= begin else "", _HIDDEN]
            done = last
    return "".join(parts) + text[done:stop]
