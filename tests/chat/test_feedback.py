"""Votes become rows, one for each dialogue, that the data stage takes and preference training too."""

import json
import threading
from pathlib import Path

import pytest

from phi_runner.chat import feedback
from phi_runner.chat.feedback import Kept, Vote
from phi_runner.config.schema import FileData, RowFormat
from phi_runner.data import open_sources
from phi_runner.data.check import check
from phi_runner.data.formats import detect, turns_of
from phi_runner.data.preference import check_pair
from phi_runner.errors import StoreProblem

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = [SYSTEM, {"role": "user", "content": "Name a planet.\u2028Please: 🪐"}]
MADE = {"model": "phi/1", "temperature": 0.0, "seed": None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feedback" / "phi.jsonl"


def vote(file: Path, answer: str, kind: Vote | None) -> Kept:
    return feedback.cast_vote(file, prompt=QUESTION, answer=answer, vote=kind, made=MADE)


def rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def test_liked_dialogue_is_a_row_that_the_data_stage_takes(file: Path):
    vote(file, "Saturn.", Vote.up)
    vote(file, "Mars.", Vote.up)
    sources = open_sources(FileData(train_file=str(file)))
    records = list(sources.train.read())
    assert [detect(record.fields) for record in records] == [RowFormat.messages] * 2
    dialogues = [check(turns_of(record.fields, spelling=RowFormat.messages)) for record in records]
    assert [dialogue.row for dialogue in dialogues] == [
        [*QUESTION, {"role": "assistant", "content": answer}] for answer in ("Saturn.", "Mars.")
    ]
    assert not any(dialogue.repairs for dialogue in dialogues)
    assert records[0].fields["model"] == "phi/1"


def test_liked_and_disliked_answer_to_one_prompt_are_a_pair_for_preference_training(file: Path):
    vote(file, "The Moon.", Vote.down)
    assert vote(file, "Saturn.", Vote.up) == Kept(liked=1, disliked=1, pairs=1)
    [record] = open_sources(FileData(train_file=str(file.with_name("phi.pairs.jsonl")))).train.read()
    assert detect(record.fields) is RowFormat.preference
    pair = check_pair(record.fields).row
    assert pair["prompt"] == QUESTION
    assert pair["chosen"] == [{"role": "assistant", "content": "Saturn."}]
    assert pair["rejected"] == [{"role": "assistant", "content": "The Moon."}]


def test_disliked_answers_alone_are_no_rows_to_train_on(file: Path):
    vote(file, "The Moon.", Vote.down)
    assert not file.exists()
    [row] = rows(file.with_name("phi.down.jsonl"))
    assert detect(row) is None


def test_answers_to_different_prompts_make_no_pair(file: Path):
    vote(file, "The Moon.", Vote.down)
    other = [{"role": "user", "content": "Another question"}]
    kept = feedback.cast_vote(file, prompt=other, answer="Saturn.", vote=Vote.up, made=MADE)
    assert kept == Kept(liked=1, disliked=1, pairs=0)


def test_repeated_vote_adds_nothing_changed_one_replaces_and_none_takes_back(file: Path):
    assert vote(file, "Saturn.", Vote.up) == Kept(liked=1, disliked=0, pairs=0)
    assert vote(file, "Saturn.", Vote.up) == Kept(liked=1, disliked=0, pairs=0)
    assert vote(file, "Saturn.", Vote.down) == Kept(liked=0, disliked=1, pairs=0)
    assert (rows(file), len(rows(file.with_name("phi.down.jsonl")))) == ([], 1)
    assert vote(file, "Saturn.", None) == Kept(liked=0, disliked=0, pairs=0)
    assert rows(file.with_name("phi.down.jsonl")) == []


def test_lines_of_other_hands_are_left_as_they_are(file: Path):
    file.parent.mkdir()
    own = '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\nnot json\n'
    file.write_text(own, encoding="utf-8")
    vote(file, "The Moon.", Vote.down)
    vote(file, "Saturn.", Vote.up)
    assert file.read_text(encoding="utf-8").startswith(own)
    assert len(file.read_text(encoding="utf-8").splitlines()[2:]) >= 1


def test_votes_at_the_same_time_are_all_kept(file: Path):
    threads = [threading.Thread(target=vote, args=(file, f"Answer {number}.", Vote.up)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(file)) == 12
    assert {item.name for item in file.parent.iterdir()} <= {"phi.jsonl", ".phi.jsonl.lock"}


@pytest.mark.parametrize(
    ("answer", "whole", "kind", "reason"),
    [
        (" ", True, Vote.up, "an empty answer"),
        ("Sat", False, Vote.up, "stop in the middle"),
        ("<|user|> hi", True, Vote.up, "the chat marker '<|user|>'"),
        ("Sat", False, Vote.down, ""),
        ("Saturn.", True, Vote.up, ""),
    ],
)
def test_answer_that_would_teach_something_wrong_is_told(answer: str, whole: bool, kind: Vote, reason: str):
    found = feedback.not_trainable(QUESTION, answer, whole=whole, vote=kind)
    assert reason in found
    assert bool(found) is bool(reason)


def test_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreProblem, match=r"cannot write the votes to .*: choose|chat\.feedback_file=FILE"):
        vote(tmp_path / "taken" / "phi.jsonl", "Saturn.", Vote.up)
