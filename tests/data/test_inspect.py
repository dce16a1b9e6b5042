"""Reading a source: take, detect, drop and count, and say so with the place of the first example."""

from pathlib import Path

import pytest

from phi_runner.config.schema import RowFormat
from phi_runner.config.take import parse_take
from phi_runner.data.check import TRIMMED
from phi_runner.data.files import open_file
from phi_runner.data.inspect import Inspected, inspect
from phi_runner.errors import DataProblem
from phi_runner.events import Kind
from tests.data.chats import ASSISTANT, SYSTEM, USER, chat, messages, write_jsonl
from tests.data.listening import Listening


@pytest.fixture(autouse=True)
def _work_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def look(
    rows: list[object], *, take: str = "100%", heard: Listening | None = None, spelling: RowFormat = RowFormat.auto
) -> Inspected:
    file = write_jsonl(Path("a.jsonl"), rows)
    source = open_file(str(file), key="data.train_file")
    return inspect(source, take=parse_take(take), spelling=spelling, events=(heard or Listening()).events)


def test_the_format_found_is_named_with_the_fields_that_told_it() -> None:
    heard = Listening()
    found = look([{"prompt": "a", "response": "b"}], heard=heard)
    assert found.format is RowFormat.prompt
    assert heard.said(Kind.info) == ["a.jsonl: format prompt (fields of the first row: prompt, response)"]


def test_an_unknown_format_lists_the_fields_and_what_is_known() -> None:
    with pytest.raises(DataProblem) as raised:
        look([{"text": "a", "label": 1}])
    assert str(raised.value) == (
        "a.jsonl:1 (row 1): fields text, label: not a format known here; rename to one of: messages, "
        "conversations (ShareGPT), instruction + output (alpaca), prompt + completion, prompt + response, "
        "prompt + chosen + rejected (preference)"
    )


def test_a_format_that_the_config_names_is_not_guessed() -> None:
    rows = [{"messages": [], "prompt": "a", "completion": "b"}]
    assert look(rows, spelling=RowFormat.prompt).rows == [chat_row("a", "b")]


def chat_row(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(("take", "taken"), [("3", 3), ("50%", 5), ("1%", 1), ("100%", 10)])
def test_rows_are_taken_from_the_top(take: str, taken: int) -> None:
    found = look([chat(number) for number in range(10)], take=take)
    assert (found.total, found.taken) == (10, taken)
    assert found.rows == [chat(number)["messages"] for number in range(taken)]


def test_asking_for_more_rows_than_there_are_is_said() -> None:
    heard = Listening()
    assert look([chat(1), chat(2)], take="5", heard=heard).taken == 2
    assert heard.said(Kind.warning) == ["data.take=5 asks for more rows than a.jsonl has: 2"]


def test_what_is_below_the_taken_rows_is_not_judged() -> None:
    assert look([chat(1), "no object"], take="1").taken == 1


def test_dropped_rows_are_counted_by_reason_and_the_first_is_named() -> None:
    heard = Listening()
    tool = messages(("tool", "{}"), (USER, "a"), (ASSISTANT, "b"))
    trailing = messages((USER, "a"), (ASSISTANT, "b"), (USER, "c"))
    found = look([chat(1), tool, messages((USER, "a")), tool, trailing, {"other": 1}], heard=heard)
    assert {reason: (dropped.count, dropped.first) for reason, dropped in found.dropped.items()} == {
        "role 'tool' is not system, user or assistant": (2, "a.jsonl:2 (row 2)"),
        "no assistant turn": (1, "a.jsonl:3 (row 3)"),
        "no field 'messages'": (1, "a.jsonl:6 (row 6)"),
    }
    assert (found.dropped_rows, len(found.rows), found.repairs[TRIMMED]) == (4, 2, 1)
    assert heard.said(Kind.warning)[0] == (
        "dropped 2 of 6 rows: role 'tool' is not system, user or assistant; the first is a.jsonl:2 (row 2)"
    )
    assert heard.said(Kind.info)[-1] == "trailing user turn trimmed in 1 of 6 rows"


def test_many_reasons_are_told_in_bounded_lines() -> None:
    heard = Listening()
    strange = [messages((f"role{number}", "a"), (USER, "b"), (ASSISTANT, "c")) for number in range(20)]
    look([chat(1), *strange], heard=heard)
    assert len(heard.said(Kind.warning)) == 9
    assert heard.said(Kind.warning)[-1] == "dropped 12 rows for 12 other reasons: see report.json"
    with pytest.raises(DataProblem) as raised:
        look(list(strange))
    assert str(raised.value).endswith("(first: a.jsonl:8 (row 8)); and 12 other reasons")


def test_rows_without_any_assistant_turn_teach_nothing() -> None:
    asked = messages((SYSTEM, "Answer with a letter."), (USER, "A or B?"))
    with pytest.raises(DataProblem) as raised:
        look([asked] * 3)
    assert str(raised.value) == (
        "a.jsonl: no assistant turn in any row: nothing to learn from (3 rows, the first is a.jsonl:1 (row 1))"
    )


def test_nothing_left_says_the_reasons_with_their_counts() -> None:
    with pytest.raises(DataProblem) as raised:
        look([messages((USER, "a")), messages((ASSISTANT, "a")), messages((ASSISTANT, "b"))])
    assert str(raised.value) == (
        "a.jsonl: none of 3 rows can be used: 2 x the user does not speak first (first: a.jsonl:2 (row 2)); "
        "1 x no assistant turn (first: a.jsonl:1 (row 1))"
    )


def test_a_source_without_rows_is_refused() -> None:
    with pytest.raises(DataProblem, match=r"^a\.jsonl holds no rows$"):
        look([])


def test_long_sources_tell_how_far_they_are() -> None:
    heard = Listening()
    look([chat(number) for number in range(2500)], heard=heard)
    assert [event.values for event in heard.heard if event.kind is Kind.progress] == [
        {"done": 1000, "total": 2500}, {"done": 2000, "total": 2500},
    ]  # fmt: skip
