"""Do two texts say the same? Alike in words, and no other fact: a frame filled in otherwise says another thing."""

from collections.abc import Sequence

from phi_runner.preflight.words import jaccard, shingles

ALIKE = 0.7
"""Share of words and word pairs in common, from which on two texts may say the same."""
_ALMOST = 80
"""Per cent of letters in common, from which on two short texts may be one with a slip in it."""
_OTHER_WORDS = 0.02
"""Share of words that may be exchanged for quite different ones: in a short text one such word is another fact."""
_OTHER_NUMBERS = 0.005
_ONE_SLIP = 3
"""Letters from which on a word may be misspelt and still be the same word."""


def alike(first: Sequence[str], second: Sequence[str]) -> float:
    """Return how alike two texts are if they say the same, else 0."""
    likeness = jaccard(shingles(first), shingles(second))
    return likeness if likeness >= ALIKE and not _other_facts(first, second) else 0.0


def same_but_slips(first: Sequence[str], second: Sequence[str]) -> bool:
    """Say whether one text is the other with a slip or a few words more or less; unlike `alike`, of short texts too."""
    from rapidfuzz.fuzz import ratio

    return ratio(" ".join(first), " ".join(second)) >= _ALMOST and not _other_facts(first, second)


def _other_facts(first: Sequence[str], second: Sequence[str]) -> bool:
    from rapidfuzz.distance import Levenshtein

    words = numbers = 0
    for step in Levenshtein.editops(first, second):
        before = first[step.src_pos] if step.tag != "insert" else ""
        after = second[step.dest_pos] if step.tag != "delete" else ""
        if any(map(str.isdigit, before + after)):
            numbers += 1
        elif step.tag == "replace" and not _misspelt(before, after):
            words += 1
    length = max(len(first), len(second))
    return words > _OTHER_WORDS * length or numbers > _OTHER_NUMBERS * length


def _misspelt(first: str, second: str) -> bool:
    """Say whether one word may be the other with a slip: one for a short word, two for a long one."""
    from rapidfuzz.distance import OSA

    longest = max(len(first), len(second))
    most = 0 if longest < _ONE_SLIP else 1 if longest < 8 else 2
    return OSA.distance(first, second, score_cutoff=most) <= most
