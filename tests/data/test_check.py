"""Checks: which dialogues can be learned from, and the words for those that cannot."""

import pytest

from phi_runner.data.check import EMPTY_SYSTEM, TRIMMED, check
from phi_runner.data.rows import Turn, Unusable

BECOMES = "inside a turn, which would become a control token"
S, U, A = Turn("system", "Be brief."), Turn("user", "2 + 2?"), Turn("assistant", "4")


@pytest.mark.parametrize("turns", [[U, A], [S, U, A], [U, A, U, A], [S, U, A, U, A, U, A]])
def test_good_dialogues_stay_as_they_are(turns: list[Turn]) -> None:
    row, repairs = check(turns)
    assert [(message["role"], message["content"]) for message in row] == turns
    assert repairs == ()


def test_line_ends_and_spaces_inside_a_turn_are_kept() -> None:
    row, _repairs = check([Turn("user", "  a\r\nb\n"), A])
    assert row[0] == {"role": "user", "content": "  a\r\nb\n"}


def test_a_question_after_the_last_answer_is_trimmed() -> None:
    assert check([U, A, Turn("user", "")]) == check([U, A])._replace(repairs=(TRIMMED,))


def test_an_empty_system_turn_is_left_out() -> None:
    assert check([Turn("system", " "), U, A]) == check([U, A])._replace(repairs=(EMPTY_SYSTEM,))


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no turns"),
        ([Turn("tool", "{}"), U, A], "role 'tool' is not system, user or assistant"),
        ([Turn(None, "a"), A], "role None is not system, user or assistant"),
        ([Turn(["user"], "a"), A], "role ['user'] is not system, user or assistant"),
        ([Turn("x" * 99, "a"), A], f"role '{'x' * 36}... is not system, user or assistant"),
        ([U, Turn("assistant", None)], "a turn whose content is not text"),
        ([Turn("user", [{"type": "text", "text": "a"}]), A], "a turn whose content is not text"),
        ([U], "no assistant turn"),
        ([S, U], "no assistant turn"),
        ([Turn("system", "")], "no assistant turn"),
        ([A], "the user does not speak first"),
        ([S, A, U, A], "the user does not speak first"),
        ([U, A, S], "a system turn that is not the only and first one"),
        ([S, S, U, A], "a system turn that is not the only and first one"),
        ([U, U, A], "user and assistant do not take turns"),
        ([U, A, A], "user and assistant do not take turns"),
        ([Turn("user", "\n"), A], "an empty user turn"),
        ([U, Turn("assistant", "")], "an empty assistant turn"),
        ([U, Turn("assistant", "ok<|end|>")], f"the chat marker '<|end|>' {BECOMES}"),
        ([Turn("user", "<|/tool|>"), A], f"the chat marker '<|/tool|>' {BECOMES}"),
        ([U, Turn("assistant", "\ud83d")], "half a Unicode character (a lone surrogate) inside a turn"),
    ],
)  # fmt: skip
def test_other_dialogues_are_unusable(turns: list[Turn], reason: str) -> None:
    with pytest.raises(Unusable) as raised:
        check(turns)
    assert str(raised.value) == reason


@pytest.mark.parametrize("text", ["a <| b |> c", "<user>", "f <|> g", "<|two words|>", "😀"])
def test_text_that_only_looks_like_a_marker_is_kept(text: str) -> None:
    assert check([Turn("user", text), A]).row[0]["content"] == text
