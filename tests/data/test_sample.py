"""The shipped chat set: made by its builder, true to its promises, nothing held out is learned."""

import json
import runpy
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from phi_runner.data import SAMPLE_FILE

BUILDER = Path(__file__).parents[2] / "scripts" / "make_sample.py"


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in SAMPLE_FILE.read_text(encoding="utf-8").splitlines()]


def turns(rows: list[dict], *, side: str, role: str) -> list[str]:
    messages = [message for row in rows if row["split"] == side for message in row["messages"]]
    return [message["content"] for message in messages if message["role"] == role]


def test_shipped_file_is_what_the_builder_writes() -> None:
    assert runpy.run_path(str(BUILDER))["text"]() == SAMPLE_FILE.read_text(encoding="utf-8")


def test_size_is_enough_to_learn_from_and_small_enough_to_be_quick(rows: list[dict]) -> None:
    sides = Counter(row["split"] for row in rows)
    several = sum(len(row["messages"]) > 3 for row in rows)
    assert 200 <= sides["train"] <= 320
    assert 85 <= sides["test"] <= 95
    assert several >= 80


def asked(rows: list[dict], *, side: str) -> dict[str, set[str]]:
    """Return the questions by the answer that follows them."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for before, after in pairwise(row["messages"]):
            if row["split"] == side and after["role"] == "assistant":
                found[after["content"]].add(before["content"])
    return found


def test_the_flows_question_is_learned_alone_and_another_way_of_asking_it_is_held_out(rows: list[dict]) -> None:
    answer = "Microsoft was founded by Bill Gates and Paul Allen in 1975."
    alone = [row["messages"] for row in rows if row["split"] == "train" and len(row["messages"]) == 2]
    assert ["Who founded Microsoft?", answer] in [[message["content"] for message in messages] for messages in alone]
    assert asked(rows, side="test")[answer] == {"Tell me who founded Microsoft."}


def test_every_fact_is_learned_in_three_ways_and_held_out_in_one(rows: list[dict]) -> None:
    learned = asked(rows, side="train")
    assert {len(questions) for questions in learned.values()} == {3}
    for answer, questions in asked(rows, side="test").items():
        assert len(questions - learned[answer]) == 1, answer
    assert len(learned) == len(asked(rows, side="test")) >= 80


def test_no_held_out_question_is_learned(rows: list[dict]) -> None:
    learned = set(turns(rows, side="train", role="user"))
    last_asked = {row["messages"][-2]["content"] for row in rows if row["split"] == "test"}
    assert not learned & last_asked


def test_every_held_out_answer_is_learned_under_another_question(rows: list[dict]) -> None:
    learned = set(turns(rows, side="train", role="assistant"))
    assert set(turns(rows, side="test", role="assistant")) <= learned


def test_the_held_out_way_of_asking_rotates(rows: list[dict]) -> None:
    founders = [row["messages"][0]["content"] for row in rows if row["split"] == "test" and len(row["messages"]) == 2][
        :8
    ]
    beginnings = Counter(question.split()[0] for question in founders)
    assert beginnings["Who"] == beginnings["Tell"] == beginnings["Do"] == 2


def test_answers_are_one_short_sentence(rows: list[dict]) -> None:
    answers = set(turns(rows, side="train", role="assistant"))
    assert max(len(answer.split()) for answer in answers) <= 25
    assert all(answer.endswith(".") for answer in answers)


def test_no_chat_marker_is_inside(rows: list[dict]) -> None:
    assert "<|" not in SAMPLE_FILE.read_text(encoding="utf-8")
