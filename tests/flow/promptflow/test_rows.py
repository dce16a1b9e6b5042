"""Held-out dialogues as rows of a batch run."""

import json
from pathlib import Path

from phi_runner.flow.promptflow import rows


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_last_question_is_asked_after_all_that_came_before():
    before = messages(("system", "Be short."), ("user", "a"), ("assistant", "b"))
    row = rows.row_of([*before, *messages(("user", "c"), ("assistant", "d"))])
    assert row == {"input_data": "c", "chat_history": before, "expected": "d"}


def test_empty_system_message_is_no_turn_and_a_question_at_the_end_is_not_asked():
    row = rows.row_of(messages(("system", ""), ("user", "a"), ("assistant", "b"), ("user", "and?")))
    assert row == {"input_data": "a", "chat_history": [], "expected": "b"}
    assert rows.row_of(messages(("user", "a"))) is None
    assert rows.row_of([]) is None


def test_first_rows_that_can_be_asked_are_written(tmp_path: Path):
    good = messages(("user", "Ä?"), ("assistant", "b"))
    lines = [{"messages": given} for given in (messages(("user", "a")), good, good, good)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    written = rows.write(tmp_path / "test.jsonl", take=2, target=tmp_path / "rows.jsonl")
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()] == written
    assert len(written) == 2
