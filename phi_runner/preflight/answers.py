"""Answers that teach nothing: the question again, or the same words over and over."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise

from phi_runner.data.rows import Dialogue
from phi_runner.preflight.words import asked, words

_LEAST_ECHO = 3
"""Words; a shorter question (`Hello`) may well be answered with itself."""
_LONGEST_PERIOD = 64
_LEAST_LOOP = 12
"""Words that a loop covers at least."""
_TIMES = 4
_LONG_WORD = 24
_STUTTER = re.compile(r"((?![xX*]{2})[^\W\d_]{1,4}?)\1{15,}")
"""Letters over and over; a row of x stands for something that was hidden."""


def echoes(dialogue: Dialogue) -> str:
    """Return an answer that is its question again, or nothing."""
    for before, message in pairwise(dialogue):
        said = message["role"] == "assistant" and before["role"] == "user"
        if said and _same(before["content"], message["content"]):
            return message["content"]
    return ""


def _same(question: str, answer: str) -> bool:
    if not 0.9 < (len(question) + 1) / (len(answer) + 1) < 1.1:
        return False
    return asked(question) == asked(answer) and len(words(question)) >= _LEAST_ECHO


def looping(answer: str) -> str:
    """Return the words that an answer repeats at least four times on end, or nothing; numbers may repeat."""
    found = words(answer)
    if found and max(map(len, found)) >= _LONG_WORD and (stutter := _STUTTER.search(answer)):
        return stutter[0]
    if len(found) < _LEAST_LOOP or not _repeats(found):
        return ""
    for period in range(1, min(_LONGEST_PERIOD, len(found) // _TIMES) + 1):
        start = _run(found, period=period)
        piece = found[start : start + period] if start is not None else []
        if any(map(str.isalpha, piece)):
            return " ".join(piece)
    return ""


def _repeats(found: Sequence[str]) -> bool:
    """Say whether any three words follow one another often enough for a loop: most texts end here."""
    triples = Counter(zip(found, islice(found, 1, None), islice(found, 2, None), strict=False))
    return max(triples.values()) >= _TIMES - 1


def _run(found: Sequence[str], *, period: int) -> int | None:
    """Return where a run of words begins that repeats itself with this period, or nothing."""
    least = max((_TIMES - 1) * period, _LEAST_LOOP - period)
    length = 0
    for place in range(period, len(found)):
        length = length + 1 if found[place] == found[place - period] else 0
        if length >= least:
            return place - length - period + 1
    return None
