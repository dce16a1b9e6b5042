"""The frame of all pages: whole HTML, text that cannot break out, anchors that lead somewhere."""

import pytest
from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section, page
from tests import html

_EVIL = "<script>alert(1)</script> & \"quotes\" 'x' </td></table>"


def _page(body: Markup) -> str:
    return page("Title " + _EVIL, sections=[Section(id="one", title=_EVIL, body=body)])


def test_text_is_escaped_wherever_it_stands() -> None:
    body = pieces.join(
        pieces.table([_EVIL], [[_EVIL], [pieces.Text(_EVIL)], [pieces.word(_EVIL)]], caption=_EVIL, stack=True),
        pieces.pairs([(_EVIL, _EVIL)]), pieces.code(_EVIL), pieces.badge(_EVIL), pieces.notice(_EVIL),
        pieces.folded(_EVIL, body=pieces.paragraph(_EVIL)), pieces.bullets([_EVIL]), pieces.link(_EVIL, to="#one"),
    )  # fmt: skip
    read = html.read(_page(body))
    assert read.text.count("<script>alert(1)</script>") == 17  # each place once, the title twice


def test_every_section_is_in_the_table_of_contents() -> None:
    sections = [Section(id=name, title=name.upper(), body=Markup("<p>x</p>")) for name in ("first", "second")]
    read = html.read(page("Two", sections=sections))
    assert read.links == ["#first", "#second"]


def test_a_page_allows_nothing_to_run_or_to_load() -> None:
    made = _page(Markup(""))
    assert "default-src &#39;none&#39;" in made
    assert "script-src" not in made


def test_two_sections_of_one_id_are_refused() -> None:
    twice = [Section(id="same", title="x", body=Markup(""))] * 2
    with pytest.raises(ValueError, match="same id"):
        page("x", sections=twice)
    with pytest.raises(ValueError, match="lower-case"):
        Section(id="No good", title="x", body=Markup(""))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (0.000123456, "0.0001235"),
        (3.0, "3"),
        (None, "-"),
        (float("nan"), "-"),
        (12345.6, "12,345.6"),
    ],
)
def test_numbers_are_as_a_person_reads_them(value: float | None, shown: str) -> None:
    assert pieces.number(value) == shown


def test_numbers_stand_right_and_nothing_is_an_empty_cell() -> None:
    made = pieces.table(["name", "n"], [["a", 1.5], ["b", None]])
    assert '<th scope="col" class="number">n</th>' in made
    assert '<td class="number" data-label="n">1.5</td>' in made
    assert "<td></td>" in made
