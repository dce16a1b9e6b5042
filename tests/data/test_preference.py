"""Preference pairs: every spelling means the same pair, what compares nothing is counted, both forms are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi_runner.config.schema import FileData, RowFormat
from phi_runner.data.formats import detect
from phi_runner.data.preference import NOT_SAME_PROMPT, SAME_ANSWER, check_pair
from phi_runner.data.prepare import prepare
from phi_runner.data.rows import Unusable
from phi_runner.errors import DataProblem
from phi_runner.events import Kind
from tests.data.chats import chat, write_jsonl
from tests.data.listening import Listening

ASKED, GOOD, BAD = ({"role": r, "content": c} for r, c in (("user", "2 + 2?"), ("assistant", "4"), ("assistant", "5")))
SYSTEM = {"role": "system", "content": "Be brief."}
SPOKEN = {"from": "human", "value": "2 + 2?"}
PAIR = {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}


def pair(number: int) -> dict[str, str]:
    """Return one of any number of different good rows."""
    return {"prompt": f"question {number}", "chosen": f"answer {number}", "rejected": "no idea"}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASKED], "chosen": "4", "rejected": "5"},
        {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        # ultrafeedback_binarized: the prompt again inside both, and the chosen dialogue again beside them
        {"prompt": "2 + 2?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], "messages": [ASKED, GOOD]},
        {"prompt": "2 + 2?", "chosen": json.dumps([ASKED, GOOD]), "rejected": json.dumps([ASKED, BAD])},
        {"instruction": "2 + 2?", "input": "", "chosen": "4", "rejected": "5"},
        {"conversations": [SPOKEN], "chosen": {"from": "gpt", "value": "4"}, "rejected": {"from": "gpt", "value": "5"}},
    ],
)
def test_every_spelling_is_detected_and_means_the_same_pair(fields: dict[str, Any]) -> None:
    assert detect(fields) is RowFormat.preference
    assert check_pair(fields) == (PAIR, ())


def test_the_prompt_is_all_that_was_said_before_the_answer() -> None:
    before = [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, ASKED]
    row, _repairs = check_pair({"prompt": "2 + 2?", "chosen": [*before, GOOD], "rejected": [*before, BAD]})
    assert row == {"prompt": before, "chosen": [GOOD], "rejected": [BAD]}


def test_an_answer_that_merely_looks_like_json_is_text() -> None:
    row, _repairs = check_pair({"prompt": "A list?", "chosen": "[1, 2]", "rejected": '{"a": 1}'})
    assert [row["chosen"][0]["content"], row["rejected"][0]["content"]] == ["[1, 2]", '{"a": 1}']


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (PAIR | {"rejected": [GOOD]}, SAME_ANSWER),
        (PAIR | {"rejected": "4 \n"}, SAME_ANSWER),
        ({"chosen": [ASKED, GOOD], "rejected": [SYSTEM, ASKED, BAD]}, NOT_SAME_PROMPT),
        ({"chosen": [ASKED, GOOD, ASKED, GOOD], "rejected": [ASKED, BAD]}, NOT_SAME_PROMPT),
        (PAIR | {"chosen": [SYSTEM | {"role": "user"}, GOOD]},
         "the prompt is not the beginning of the dialogue in 'chosen'"),
        ({"chosen": [ASKED, GOOD, ASKED], "rejected": [ASKED, BAD]}, "chosen: the last turn is not the assistant's"),
        ({"chosen": "4", "rejected": "5"}, "no field 'prompt', and 'chosen' is an answer alone"),
        ({"prompt": "2 + 2?", "chosen": "4"}, "no field 'rejected'"),
        (PAIR | {"chosen": " "}, "chosen: an empty assistant turn"),
        (PAIR | {"rejected": "5<|end|>"},
         "rejected: the chat marker '<|end|>' inside a turn, which would become a control token"),
        (PAIR | {"chosen": None}, "'chosen' is neither text nor a list of turns"),
        (PAIR | {"chosen": [{"role": "assistant"}]}, "a turn in 'chosen' is not an object with 'role' and 'content'"),
        (PAIR | {"chosen": []}, "the prompt is not the beginning of the dialogue in 'chosen'"),
        ({"chosen": [], "rejected": []}, "chosen: no turns"),
    ],
)  # fmt: skip
def test_other_pairs_are_unusable(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as raised:
        check_pair(fields)
    assert str(raised.value) == reason


def test_pairs_are_written_in_both_forms_and_read_as_dialogues_too(tmp_path: Path) -> None:
    import datasets

    from phi_runner.model import pairs, tokens

    file = write_jsonl(tmp_path / "a.jsonl", [*map(pair, range(20)), pair(3), PAIR | {"rejected": [GOOD]}])
    heard = Listening()
    made = prepare(FileData(train_file=str(file)), seed=0, folder=tmp_path, events=heard.events)
    assert (made.format, made.train_rows, made.test_rows, made.dropped_rows) == ("preference", 16, 4, 1)
    assert heard.said(Kind.warning) == [f"dropped 1 of 22 rows: {SAME_ANSWER}; the first is {file}:22 (row 22)"]
    table = datasets.Dataset.from_file(str(made.train_file))
    assert table.column_names == ["prompt", "chosen", "rejected", "messages"]
    assert [json.loads(line) for line in made.train_jsonl.read_text().splitlines()] == table.to_list()
    read = pairs.read(made.train_file)
    assert [found["prompt"] + found["chosen"] for found in read] == tokens.first(made.train_file, 20)
    assert {found["rejected"][0]["content"] for found in read} == {"no idea"}


def test_the_spelling_of_pairs_does_not_change_a_byte(tmp_path: Path) -> None:
    def dialogue(row: dict[str, str], side: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}]

    numbered = [pair(number) for number in range(10)]
    whole = [{side: dialogue(row, side) for side in ("chosen", "rejected")} for row in reversed(numbered)]
    hashes = set()
    for name, spelled in (("one", numbered), ("other", whole)):
        (tmp_path / name).mkdir()
        file = write_jsonl(tmp_path / f"{name}.jsonl", spelled)
        made = prepare(FileData(train_file=str(file)), seed=0, folder=tmp_path / name, events=Listening().events)
        hashes.add(made.content_hash)
    assert len(hashes) == 1


def test_pairs_are_not_measured_on_dialogues(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "a.jsonl", map(pair, range(5)))
    test = write_jsonl(tmp_path / "b.jsonl", map(chat, range(5)))
    data = FileData(train_file=str(train), eval_file=str(test))
    with pytest.raises(DataProblem, match=r"a\.jsonl holds rows of format preference and .*b\.jsonl of messages"):
        prepare(data, seed=0, folder=tmp_path, events=Listening().events)
