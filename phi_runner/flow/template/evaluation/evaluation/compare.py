"""Compare an answer with the expected one: word for word, and by the words that they share."""

from collections import Counter

from promptflow.core import tool


def words_of(text: str) -> list[str]:
    """Return the words of a text, as the comparison sees them."""
    return text.lower().split()


def token_f1(answer: str, expected: str) -> float:
    """Return the harmonic mean of precision and recall of the answer's words, between 0 and 1 (as SQuAD has it)."""
    said, wanted = words_of(answer), words_of(expected)
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not said or not wanted:
        return float(said == wanted)
    return 2 * shared / (len(said) + len(wanted))


@tool
def compare(answer: str, expected: str) -> dict[str, float]:
    """Return 1.0 for an exact match, and the F1 of the words."""
    return {"exact_match": float(answer.strip() == expected.strip()), "token_f1": token_f1(answer, expected)}
