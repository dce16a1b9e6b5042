"""Stop texts: found wherever the pieces are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phi_runner.serve.stops import StopTexts

LETTERS = st.text(alphabet="abc", max_size=30)


@given(text=LETTERS, cuts=st.lists(st.integers(0, 30), max_size=6), stops=st.lists(LETTERS.filter(bool), max_size=3))
def test_what_is_shown_does_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int], stops: list[str]) -> None:
    watch = StopTexts(stops)
    shown = ""
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    for start, end in pairwise(edges):
        if not watch.hit:
            shown += watch.feed(text[start:end])
    if not watch.hit:
        shown += watch.rest()
    ends = [text.index(stop) for stop in stops if stop in text]
    assert watch.hit == bool(ends)
    if not ends:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(stop in shown for stop in stops)


def test_nothing_is_held_back_without_stop_texts() -> None:
    assert StopTexts([]).feed("as it comes") == "as it comes"


def test_the_beginning_of_a_stop_text_is_held_back_until_it_is_none() -> None:
    watch = StopTexts(["END"])
    assert [watch.feed("the E"), watch.feed("N"), watch.feed("tente"), watch.feed(" END.")] == [
        "the ",
        "",
        "ENtente",
        " ",
    ]
    assert watch.hit
