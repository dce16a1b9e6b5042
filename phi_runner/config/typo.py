"""How alike two names are, as a person mistypes them: swapped, missing, doubled letters, a name cut short."""

from collections.abc import Iterable

ALIKE = 0.61
"""Names less alike than this are not worth suggesting."""
_STUB = 3
"""Letters that the beginning of a name needs to be recognised by."""
_GOOD_BEGINNING = 0.7


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_").replace(" ", "_").replace("/", "_")


def likeness(typed: str, name: str) -> float:
    """Return 0 to 1: by edits (swaps count once), or by a good beginning of `name`, or by one of its words."""
    if typed == name:
        return 1.0
    a, b = _plain(typed), _plain(name)
    if a == b:
        return 0.99
    from rapidfuzz.distance import OSA

    found = [OSA.normalized_similarity(a, b), OSA.normalized_similarity(a.replace("_", ""), b.replace("_", ""))]
    if _STUB <= len(a) < len(b):
        beginning = OSA.normalized_similarity(a, b[: len(a)])
        found.append(0.93 * beginning if beginning > _GOOD_BEGINNING else 0.0)
    if len(a) >= _STUB and (a in b.split("_") or f"{a}s" in b.split("_")):
        found.append(0.8)
    return max(found)


def nearest(typed: str, names: Iterable[str], *, most: int = 1) -> list[str]:
    """Return at most `most` names that `typed` may stand for, the likeliest first; ties keep their order."""
    scored = [(likeness(typed, name), name) for name in names]
    good = [pair for pair in scored if pair[0] >= ALIKE]
    return [name for _score, name in sorted(good, key=lambda pair: -pair[0])[:most]]


def did_you_mean(suggestions: Iterable[str]) -> str:
    """Return `: did you mean a or b?` for what there is to suggest, else nothing."""
    found = list(suggestions)
    if not found:
        return ""
    *front, last = found
    return f": did you mean {', '.join(front)} or {last}?" if front else f": did you mean {last}?"
