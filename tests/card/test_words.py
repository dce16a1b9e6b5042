"""Answers against references, in several scripts."""

import pytest

from phi_runner.card.words import exact, rouge_l, token_f1, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Bill Gates, and Paul-Allen!", ["bill", "gates", "and", "paul", "allen"]),
        ("ÉCOLE cafe\u0301 STRASSE Straße", ["école", "café", "strasse", "strasse"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京は首都", ["東", "京", "は", "首", "都"]),
        ("Привет, мир", ["привет", "мир"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("snake_case 3.5", ["snake", "case", "3", "5"]),
        ("?!…", []),
    ],
)
def test_words_of_any_script(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_exact_is_word_for_word() -> None:
    assert exact(" Paris.\n", "Paris.") == 1.0
    assert exact("paris.", "Paris.") == 0.0


def test_shared_words_count_as_often_as_they_stand_there() -> None:
    assert token_f1("the the cat", "the cat") == pytest.approx(0.8)
    assert token_f1("Paris", "It is Paris") == pytest.approx(0.5)
    assert token_f1("", "") == 1.0
    assert token_f1("", "Paris") == 0.0


def test_order_counts_for_rouge() -> None:
    assert rouge_l("東京は首都", "首都は東京") < token_f1("東京は首都", "首都は東京") == 1.0


@pytest.mark.parametrize(
    ("answer", "wanted", "theirs"),
    [
        ("The cat sat on the mat", "the cat is on a mat", 2 / 3),
        ("Microsoft was founded by Bill", "Bill Gates founded it in 1975", 2 / 11),
        ("one two three", "four five", 0.0),
        ("a b c d e f", "a c e", 2 / 3),
    ],
)
def test_rouge_is_what_the_package_rouge_score_says(answer: str, wanted: str, theirs: float) -> None:
    """Its values were taken down from 0.1.2: importing it brings nltk, which takes seconds."""
    assert rouge_l(answer, wanted) == pytest.approx(theirs)
