"""A sweep that is typed again: what was done is not done twice, what is gone or was never done is done."""

import os
import shutil
from pathlib import Path

import pytest

from tests.sweep import typed

SEEDS = ("seed=1,2,3", "stages=[data]")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials of the stage `data`, done once; to be copied."""
    folder = tmp_path_factory.mktemp("once")
    assert typed.swept(folder, *SEEDS) == 0
    shutil.copytree(folder, folder.with_name("kept"), symlinks=True)
    return folder


@pytest.fixture
def done(once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sweep's own folder as it was left: rows and results keep their place, which is part of a trial."""
    shutil.rmtree(once)
    shutil.copytree(once.with_name("kept"), once, symlinks=True)
    monkeypatch.chdir(once)
    return once


def again(folder: Path, *words: str, code: int = 0) -> int:
    """Type a sweep again and return how many trials were begun."""
    before = sum(typed.begun(folder).values())
    assert typed.swept(folder, *words) == code
    return sum(typed.begun(folder).values()) - before


def test_finished_trials_are_skipped_and_said(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert again(done, *SEEDS) == 0
    told = capfd.readouterr().out
    assert [f"trial {number} (seed={number + 1}): not run again, done before" in told for number in range(3)] == [
        True
    ] * 3
    assert len(list((done / "out" / "sweeps").iterdir())) == 1


def test_an_extended_and_reordered_grid_runs_what_is_new(done: Path) -> None:
    assert again(done, "seed=4,3,2,1", "stages=[data]") == 1
    assert len(list((done / "out" / "sweeps").iterdir())) == 1


def test_a_result_that_is_gone_or_damaged_is_made_again(done: Path) -> None:
    first, second, _third = sorted(
        item for item in (done / "out" / "store" / "data").iterdir() if not item.name.startswith(".")
    )
    shutil.rmtree(first)
    file = next(file for file in sorted(second.rglob("*.jsonl")))
    file.write_bytes(file.read_bytes()[:-1])
    assert again(done, *SEEDS) == 2
    assert again(done, *SEEDS) == 0


def test_other_rows_make_every_trial_another(done: Path) -> None:
    rows = done / "facts.jsonl"
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]) + "\n")
    assert again(done, *SEEDS) == 3


@pytest.mark.parametrize(("file", "content"), [("run.json", ""), ("run.json", "{"), ("trial.json", None)])
def test_a_half_written_trial_is_run_again(done: Path, file: str, content: str | None) -> None:
    victim = next(done.glob(f"out/sweeps/*/*/{file}"))
    victim.unlink() if content is None else victim.write_text(content)
    assert again(done, *SEEDS) == 1
    assert again(done, *SEEDS) == 0


def test_force_runs_them_again(done: Path) -> None:
    assert again(done, *SEEDS, "force=[data]") == 3
    assert typed.ways(done, "data") == {"done": 3}


def test_a_trial_named_twice_is_run_once(done: Path) -> None:
    assert again(done, "seed=5,5,1", "stages=[data]", "force=[data]") == 2


def test_a_failed_trial_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    typed.line(tmp_path)
    shutil.copy(tmp_path / "facts.jsonl", good)
    bad.write_text('{"neither": "fish"}\n' * 9)
    words = (f"data.train_file={bad},{good}", "stages=[data]")
    line = [item for item in typed.line(tmp_path, *words) if item != f"data.train_file={tmp_path / 'facts.jsonl'}"]
    assert typed.performed(line) == 1
    assert [told["status"] for told in typed.trials(tmp_path).values()].count("failed") == 1
    assert typed.performed([*line, "sweep.retry_failed=false"]) == 1
    assert sorted(typed.begun(tmp_path).values()) == [1, 1]
    shutil.copy(good, bad)
    assert typed.performed(line) == 0
    assert sorted(told["tries"] for told in typed.trials(tmp_path).values()) == [1, 2]


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_two_sweeps_at_once_share_the_trials(tmp_path: Path) -> None:
    typed.line(tmp_path)
    both = [typed.started(tmp_path, "seed=1,2,3,4", "stages=[data]") for _number in range(2)]
    told = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert list(typed.begun(tmp_path).values()) == [1] * 4
    assert {trial["tries"] for trial in typed.trials(tmp_path).values()} == {1}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train.epochs=", "train.epochs is a whole number"),
        ("train.epochs=range(3,3)", "no value at all"),
        ("model=glob(zzz*)", "no value at all"),
        ("+recipe=glob(zzz*)", "no value at all"),
        ("train.epochz=1,2", "did you mean train.epochs=1,2"),
        ("seed=1,2 deploy=local stages=[data,deploy]", "sweep.may_deploy=true"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_in_one_line(
    word: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert typed.swept(tmp_path, *word.split()) == 1
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
