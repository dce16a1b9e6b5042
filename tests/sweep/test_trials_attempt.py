"""What a trial's record says, whatever was left of it, and when a finished one has to be run again."""

import json
from pathlib import Path
from threading import Thread

import pytest

from phi_runner.config.trial import State, Trial
from phi_runner.errors import StoreProblem
from phi_runner.sweep import attempt

TRIAL = Trial(id="cafe", number=3, values={"train.epochs": 2})


def tried(folder: Path, status: State) -> attempt.Attempt:
    """Leave a try that ended so; `running` is what a killed one leaves."""
    this = attempt.begun(folder, trial=TRIAL, overrides=[], before=attempt.read(folder, trial="cafe"))
    if status is not State.running:
        this = this.ended(status, folder=folder)
        this.write(folder)
    return this


def run_file(folder: Path, *, key: str = "k1", status: str = "done") -> None:
    """Leave the record of a run of one stage."""
    stages = [{"name": "data", "key": key, "status": status}]
    (folder / "run.json").write_text(json.dumps({"status": "done", "stages": stages}))


@pytest.mark.parametrize("left", [None, "", "{", "[]", "null", '{"id": "cafe"}', '{"id": "cafe", "status": "asleep"}'])
def test_a_record_that_says_nothing_is_no_record(left: str | None, tmp_path: Path) -> None:
    if left is not None:
        (tmp_path / "trial.json").write_text(left)
    assert attempt.read(tmp_path, trial="cafe") is None
    assert tried(tmp_path, State.done).tries == 1


def test_tries_are_counted_until_the_trial_is_finished(tmp_path: Path) -> None:
    assert [tried(tmp_path, end).tries for end in (State.failed, State.running, State.interrupted, State.done)] == [
        1, 2, 3, 4,
    ]  # fmt: skip
    assert tried(tmp_path, State.done).tries == 1


def test_the_record_of_another_trial_in_the_same_folder_is_not_taken(tmp_path: Path) -> None:
    tried(tmp_path, State.done)
    assert attempt.read(tmp_path, trial="beef") is None


@pytest.mark.parametrize("left", [None, "", "{", '{"status": "done"}', '{"stages": [{"name": "data"}]}'])
def test_a_finished_trial_without_its_run_is_run_again(left: str | None, tmp_path: Path) -> None:
    done = tried(tmp_path, State.done)
    if left is not None:
        (tmp_path / "run.json").write_text(left)
    assert "missing or half written" in attempt.outdated(done, folder=tmp_path, keys={"data": "k1"}, made_anew={})


def test_a_finished_trial_is_run_again_where_a_result_would_be_another_or_is_gone(tmp_path: Path) -> None:
    done = tried(tmp_path, State.done)
    run_file(tmp_path)
    assert attempt.outdated(done, folder=tmp_path, keys={"data": "k1"}, made_anew={}) == ""
    assert "other rows" in attempt.outdated(done, folder=tmp_path, keys={"data": "k2"}, made_anew={})
    damaged = {"data": "the stored result is damaged"}
    assert "damaged" in attempt.outdated(done, folder=tmp_path, keys={"data": "k1"}, made_anew=damaged)


def test_one_process_at_a_time_is_at_a_trial(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with attempt.held(tmp_path / "cafe", on_wait=lambda: order.append("waits")):
            order.append("second")

    with attempt.held(tmp_path / "cafe", on_wait=lambda: order.append("never")):
        other = Thread(target=second)
        other.start()
        while not order:
            other.join(0.01)
        order.append("first is done")
    other.join()
    assert order == ["waits", "first is done", "second"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreProblem, match="choose another place"):
        attempt.begun(tmp_path / "file" / "cafe", trial=TRIAL, overrides=[], before=None)
