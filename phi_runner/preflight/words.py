"""Texts as words, in any script, and as sets of short word runs: what duplicates are found by."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts without blanks between words (Thai to Han): each character counts as a word."""
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+|[^\w\s.,;:!?'\"“”‘’«»…()\[\]{{}}-]")  # noqa: RUF001 (quotes are meant)
_ASCII_WORD = re.compile(r"[a-z0-9]+|[^\w\s.,;:!?'\"()\[\]{}-]")
_ENDS = " \t\r\n?!.…。？！\"'“”‘’«»"  # noqa: RUF001
_MOST_WORDS = 5_000
"""Of a text that is longer, the rest does not decide whether it is a duplicate."""


def words(text: str) -> list[str]:
    """Return the words and signs of a text, without case; punctuation is left out."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())[:_MOST_WORDS]
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())[:_MOST_WORDS]


def asked(text: str) -> str:
    """Return what makes two questions the same: neither case, blanks nor the marks around it."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(plain.casefold().split()).strip(_ENDS)


def shingles(found: Sequence[str]) -> set[str]:
    """Return the words and the pairs of neighbours; what two texts share of them is how alike they are."""
    return {*found, *(f"{first} {second}" for first, second in pairwise(found))}


def jaccard(first: set[str], second: set[str]) -> float:
    """Return the share of what either has that both have."""
    both = len(first & second)
    return both / (len(first) + len(second) - both) if both else 0.0
