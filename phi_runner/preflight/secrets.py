"""What opens a door: keys and tokens by their known beginnings, by their name, or by looking drawn at random."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

_KNOWN = re.compile(
    r"\b(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,}|glpat-[\w-]{20,}"
    r"|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}"
    r"|xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"  # Slack, Google
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|dop_v1_[0-9a-f]{64}|shpat_[0-9a-f]{32}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # SendGrid, JSON web tokens
    r")|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|AccountKey=[A-Za-z0-9+/=]{40,}"
    r"|[a-z][a-z0-9+.-]*://[^\s:/@]+:[^\s/@]{4,}@[\w.-]+"  # user:password@host
)
_NAMED = re.compile(
    r"(?i)(?:api[_-]?key|secret|token|passw(?:or)?d|bearer|authorization)[\"'\]]{0,2}\s*[:=]?\s*(?:bearer\s+)?[\"']?"
    r"([\w+/.~-]{16,}={0,2})"
)
_BARE = re.compile(r"(?<![\w/.=&+-])[A-Za-z0-9_+-]{28,100}={0,2}(?![\w/&]|\.\w)")
_LONG = re.compile(r"[\w+/=-]{16}")
_HINTS = ("://", "PRIVATE KEY")
_EXAMPLE = re.compile(r"(?i)example|xxxx|your|1234567|placeholder|\.\.\.|\*\*\*|<|>|changeme|redacted|dummy|000000")


def secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield where something stands that looks like a key; placeholders and hashes in hexadecimal are none."""
    if not _LONG.search(text) and not any(hint in text for hint in _HINTS):
        return
    for found in _KNOWN.finditer(text):
        if not _EXAMPLE.search(found[0]) and (len(set(found[0])) > 8 or found[0].startswith("-")):
            yield found.span()
    for found in _NAMED.finditer(text):
        if _drawn(found[1], least=3.2, kinds=2):
            yield found.span(1)
    for found in _BARE.finditer(text):
        if _drawn(found[0], least=4.2) and _changes(found[0]) >= len(found[0]) / 3:
            yield found.span()


def _drawn(token: str, *, least: float, kinds: int = 3) -> bool:
    """Say whether a token looks drawn at random: so many kinds of characters, often changing, few of them twice."""
    found = sum((any(map(str.isdigit, token)), any(map(str.isupper, token)), any(map(str.islower, token))))
    hexadecimal = re.fullmatch(r"[0-9a-f-]+|[0-9A-F-]+", token) is not None
    mixed = found == 3 or _changes(token) >= len(token) / 3
    return found >= kinds and mixed and not hexadecimal and not _EXAMPLE.search(token) and _bits(token) >= least


def _bits(token: str) -> float:
    """Return the entropy of a token's characters, in bits each."""
    return -sum(n / len(token) * math.log2(n / len(token)) for n in Counter(token).values())


def _changes(token: str) -> int:
    """Return how often the kind of character changes: a long name in camel case changes seldom."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in token]
    return sum(before != after for before, after in pairwise(kinds))
