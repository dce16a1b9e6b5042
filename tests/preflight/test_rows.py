"""Damaged text and answers that teach nothing; texts that are alike and texts that fill one frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.data.rows import Message
from phi_runner.preflight import damage
from phi_runner.preflight.answers import echoes, looping
from phi_runner.preflight.finding import excerpt
from phi_runner.preflight.likeness import alike, same_but_slips
from phi_runner.preflight.single import reason
from phi_runner.preflight.words import asked, words

_LETTERS = st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x24F, categories=["Lu", "Ll"]), min_size=1)


@given(_LETTERS)
def test_letters_alone_were_not_decoded_wrongly(text: str) -> None:
    assert damage.mojibake(f"{text} 5 € {text}") is None


@given(st.text(st.characters(min_codepoint=0x2010, max_codepoint=0xFFEF, categories=["Lo", "Po"]), min_size=3))
def test_utf8_read_as_windows_is_found(text: str) -> None:
    raw = text.encode("utf-8")
    wrong = "".join(bytes([b]).decode("cp1252", errors="ignore") or bytes([b]).decode("latin-1") for b in raw)
    assert damage.mojibake(f"He said {wrong} twice.")


@pytest.mark.parametrize(
    "text", ["a < b and c > d", "List<String> x", "`<b>` is bold", "AT&T", "I <3 it", "<file_photo>"]
)
def test_signs_are_no_html(text: str) -> None:
    assert damage.html(text) is None


@pytest.mark.parametrize("text", ["<p>Old.</p>", "one<br/>two", "Tom &amp; Son", '<a href="x">y</a>', "it&#39;s"])
def test_tags_and_entities_are_html(text: str) -> None:
    assert damage.html(text)


def test_html_that_is_asked_about_is_meant() -> None:
    assert damage.html("How is a paragraph made in HTML? With <p> and </p>.") is None


def test_control_characters_are_shown_as_codes() -> None:
    assert damage.control("line\r\n\tend") is None
    found = damage.control("be\x07ll")
    assert found is not None
    assert excerpt("be\x07ll", at=found.start()) == r"be\x07ll"


@given(st.lists(st.sampled_from(["one", "two", "三", "vier"]), min_size=1, max_size=6), st.integers(12, 40))
def test_words_over_and_over_are_a_loop(piece: list[str], times: int) -> None:
    assert looping(" ".join(piece * times))


@pytest.mark.parametrize(
    "text",
    ["0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", "| a | 1 |\n| --- | --- |\n| b | 2 |\n| c | 3 |", "No, no, no. Never.",
     "Open the gate. Take the stairs. Open the hatch. Take the ladder.", "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ""],
)  # fmt: skip
def test_tables_lists_and_refrains_are_no_loop(text: str) -> None:
    assert not looping(text)


def test_an_echo_is_the_question_in_any_case() -> None:
    assert echoes([_said("user", "Why is the sky blue?"), _said("assistant", "WHY is the  sky blue")])
    assert not echoes([_said("user", "Hello!"), _said("assistant", "Hello!")])
    assert not echoes([_said("user", "Why is it?"), _said("assistant", "Why is it? Because.")])


def test_slips_are_alike_and_other_facts_are_not() -> None:
    text = "The bridge of Riga was built by two brothers because the river had changed its course."
    assert alike(words(text), words(text.replace("brothers", "borthers").replace("river", "river really")))
    assert not alike(words(text), words(text.replace("Riga", "Oslo")))
    assert not alike(words(text + " It cost 120."), words(text + " It cost 121."))
    assert same_but_slips(words("Be brief, please."), words("be breif please"))
    assert not same_but_slips(words("Answer in French."), words("Answer in German."))


@given(st.text())
def test_a_text_is_like_itself(text: str) -> None:
    found = words(text)
    assert alike(found, found) == (1.0 if found else 0)
    assert asked(text) == asked(f"  {text} ?")


def test_every_reason_of_the_data_stage_has_its_finding() -> None:
    assert reason("user and assistant do not take turns") == "role_order"
    assert reason("role 'bot' is not system, user or assistant") == "role_order"
    assert reason("chosen: an empty assistant turn") == "one_sided"
    assert reason("the chat marker '<|end|>' inside a turn, which would become a control token") == "markers"
    assert reason("no field 'messages'") == "malformed"


def _said(role: str, content: str) -> Message:
    return Message(role=role, content=content)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_divided_as_any_other_text(text: str) -> None:
    assert words(f"{text} \u00fc") == [*words(text), "\u00fc"]
