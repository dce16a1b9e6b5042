"""How near an answer comes to the data's: word for word, by shared words, and by their order, in any language."""

import unicodedata
from collections import Counter

import regex
from rapidfuzz.distance import Indel

_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*|[\w--_]+", regex.VERSION1
)
"""A run of letters and digits with their marks; scripts that write no spaces give a word per character."""


def words(text: str) -> list[str]:
    """Return the words of a text, case and width folded, without punctuation."""
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found


def exact(answer: str, wanted: str) -> float:
    """Return 1 where the two are the same but for space around them."""
    return float(answer.strip() == wanted.strip())


def token_f1(answer: str, wanted: str) -> float:
    """Return the harmonic mean of precision and recall over words, each counted as often as it stands there (SQuAD)."""
    found, asked = words(answer), words(wanted)
    if not found or not asked:
        return float(found == asked)
    shared = (Counter(found) & Counter(asked)).total()
    return 2 * shared / (len(found) + len(asked))


def rouge_l(answer: str, wanted: str) -> float:
    """Return ROUGE-L's F1: twice the longest common subsequence of words over the words of both (Lin 2004).

    That is what rapidfuzz calls the normalised indel similarity. The package rouge-score says the same of English and
    finds no words at all in other scripts.
    """
    return float(Indel.normalized_similarity(words(answer), words(wanted)))
