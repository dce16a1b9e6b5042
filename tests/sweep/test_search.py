"""Optuna as Hydra's sweeper: real studies over a function that stands in for trainings."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner.config import endings, flags, search_space
from phi_runner.config.precheck import precheck
from phi_runner.errors import ConfigProblem, PhiRunnerError
from phi_runner.search import space
from phi_runner.search.samplers import SamplerName
from phi_runner.search.space import Choices, Interval
from phi_runner.search.study import Asked, End, Finding, Search
from tests.sweep import made
from tests.sweep.searching import loss_of, search, tried

RATE = Interval(key="train.learning_rate", low=1e-4, high=1e-1, log=True)
ROWS = Choices(key="train.batch_size", texts=("8", "16", "32"), values=(8, 16, 32))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Six trials of a search that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["phi-runner"])
        assert search(folder, "hydra.sweeper.n_trials=6") == [0, 1, 2, 3, 4, 5]
    return tried(folder)


@pytest.fixture(autouse=True)
def plain_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra names a job by the program."""
    monkeypatch.setattr(sys, "argv", ["phi-runner"])


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(
    uninterrupted: dict[str, float], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.sweep.searching", str(tmp_path), "3"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert len(tried(tmp_path)) == 3
    with (tmp_path / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 6, "wor')  # the kill came in the middle of a line
    assert search(tmp_path, "hydra.sweeper.n_trials=6") == [3, 4, 5]
    assert tried(tmp_path) == uninterrupted


def test_more_trials_of_a_finished_search_are_only_those_that_are_missing(
    uninterrupted: dict[str, float], tmp_path: Path
) -> None:
    assert search(tmp_path, "hydra.sweeper.n_trials=4") == [0, 1, 2, 3]
    assert search(tmp_path, "hydra.sweeper.n_trials=6") == [4, 5]
    assert search(tmp_path, "hydra.sweeper.n_trials=6") == []
    assert tried(tmp_path) == uninterrupted


def test_a_lost_study_is_made_again_from_what_the_trials_left(uninterrupted: dict[str, float], tmp_path: Path) -> None:
    search(tmp_path, "hydra.sweeper.n_trials=4")
    (tmp_path / "study.journal").unlink()
    assert search(tmp_path, "hydra.sweeper.n_trials=5") == [4]
    assert set(tried(tmp_path)) <= set(uninterrupted)


def test_a_failed_trial_does_not_count_and_is_tried_again_by_the_next_call(tmp_path: Path) -> None:
    assert search(tmp_path, "hydra.sweeper.n_trials=3", fail=(1,)) == [0, 1, 2]
    assert len(tried(tmp_path)) == 2
    names = {folder.name for folder in tmp_path.iterdir() if folder.is_dir()}
    assert search(tmp_path, "hydra.sweeper.n_trials=3") == [3]
    assert set(tried(tmp_path)) == names, "the same values as those that failed"


def test_batches_are_asked_for_together_and_told_together(tmp_path: Path) -> None:
    assert search(tmp_path, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2") == [0, 1, 2, 3, 4]
    assert len(tried(tmp_path)) == 5


def test_a_search_for_what_no_stage_measures_does_not_begin(tmp_path: Path) -> None:
    told = r"measured by the stage evaluate: type stages=\[data,train,evaluate\]"
    with endings.raising(), pytest.raises(PhiRunnerError, match=told):
        search(tmp_path, "stages=[data,train]")


@pytest.mark.parametrize("sampler", SamplerName)
def test_every_sampler_finds_a_better_value_than_its_first_and_repeats_itself(
    sampler: SamplerName, tmp_path: Path
) -> None:
    axes = [RATE, Interval(key="train.batch_size", low=4, high=64)]
    trials = 5 if sampler is SamplerName.gp else 12  # the first gp question imports torch

    def found(name: str) -> list[float]:
        made_by = Search(axes=axes, place=tmp_path / name, sampler=sampler, seed=1)
        values = []
        for asked in (made_by.next(most=1)[0] for _ in range(trials)):
            value = loss_of(float(asked.texts["train.learning_rate"]), int(asked.texts["train.batch_size"]))
            made_by.tell(asked, Finding(end=End.done, value=value))
            values.append(value)
        return values

    first = found("one")
    assert min(first) < first[0]
    assert found("two") == first


def test_what_is_maximised_is_told_as_it_is_and_pruned_ones_count(tmp_path: Path) -> None:
    searching = Search(axes=[RATE], place=tmp_path / "study", sampler=SamplerName.random, maximise=True)
    good, given_up, broken = searching.next(most=3)
    searching.tell(good, Finding(end=End.done, value=0.5))
    searching.tell(given_up, Finding(end=End.pruned, curve=((25, 3.0), (50, 2.9))))
    searching.tell(broken, Finding(end=End.failed))
    assert [trial.state.name for trial in searching.study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert searching.study.best_value == 0.5
    assert searching.study.trials[1].intermediate_values == {25: 3.0, 50: 2.9}
    assert searching.finished == 2


def test_trials_of_a_grid_are_learnt_from_where_they_lie_in_the_space(tmp_path: Path) -> None:
    searching = Search(axes=[RATE, ROWS], place=tmp_path / "study")
    inside = Finding(end=End.done, value=2.0, values={"train.learning_rate": 0.01, "train.batch_size": 16})
    outside = Finding(end=End.done, value=1.0, values={"train.learning_rate": 0.5, "train.batch_size": 16})
    other = Finding(end=End.done, value=1.0, values={"train.learning_rate": 0.01, "train.epochs": 3})
    assert searching.learn([inside, outside, other]) == 1
    assert searching.learn([inside]) == 0, "known by now"
    assert searching.study.best_params == {"train.learning_rate": 0.01, "train.batch_size": "16"}


def test_a_question_that_a_kill_cut_short_is_forgotten(tmp_path: Path) -> None:
    searching = Search(axes=[RATE, ROWS], place=tmp_path / "study", sampler=SamplerName.random)
    searching.study.ask()
    assert searching.next(most=1) == [Asked(number=1, texts=searching.next(most=1)[0].texts)]


def test_suggested_numbers_are_short_and_stay_inside() -> None:
    assert RATE.text(0.0012345678) == "0.001235"
    assert Interval(key="k", low=0.000123449, high=1.0).text(0.00012344901) == "0.000123449"
    assert Interval(key="k", low=1, high=8).text(5) == "5"


@pytest.mark.parametrize(
    ("typed", "axis"),
    [
        ("a=tag(log,interval(1e-4,1e-2))", Interval(key="a", low=1e-4, high=1e-2, log=True, tags=("log",))),
        ("a=interval(1,8)", Interval(key="a", low=1, high=8)),
        ("a=range(2,9,3)", Interval(key="a", low=2, high=8, step=3)),
        ("a=range(2,3)", Choices(key="a", texts=("2",), values=(2,))),
        ("a=x,'y z'", Choices(key="a", texts=("x", "'y z'"), values=("x", "y z"))),
        ("a=true,null", Choices(key="a", texts=("true", "null"), values=(True, None))),
    ],
)
def test_hydras_own_grammar_says_what_is_searched(typed: str, axis: space.Axis) -> None:
    assert search_space.split([typed, "b=3"]) == ([axis], ["b=3"])


WRONG = [
    ("train.learning_rate=interval(1e-2,1e-4)", "type train.learning_rate=interval(0.0001,0.01)"),
    ("train.learning_rate=tag(log,interval(0,1e-2))", "begins above 0"),
    ("train.learning_rate=tag(lg,interval(1e-4,1e-2))", "type tag(log,interval(LOW,HIGH))"),
    ("train.learning_rate=interval(1e-3,2)", "train.learning_rate=2.0 is out of range"),
    ("train.learning_rte=interval(1e-3,1e-2)", "did you mean train.learning_rate=interval(1e-3,1e-2)?"),
    ("seed=3", "has nothing to search"),
    ("seed=1,2 sweep.objective=loss_after,f1_after", "all trials of a sweep share it: type sweep.objective=loss_after"),
    ("seed=1,2 sweep.trial_folder=x", "set by the runner"),
    ("seed=1,2 hydra.sweeper.sampler=tpee", "none of tpe, random, gp, cmaes"),
    ("seed=1,2 hydra.sweeper.sampler=cmaes", "needs two intervals"),
    ("seed=1,2 hydra.sweeper.n_trials=0", "type hydra.sweeper.n_trials=1"),
]


@pytest.mark.parametrize(("typed", "told"), WRONG)
def test_a_search_that_cannot_be_made_is_refused_in_one_line(typed: str, told: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        precheck(flags.read(["-m", "hydra/sweeper=optuna", *typed.split()]))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_recipe_is_a_search() -> None:
    checked = precheck(flags.read(["+recipe=sweep_optuna"]))
    assert checked.multirun
    assert checked.sweeping is not None
    assert set(checked.sweeping.keys) == {"train.learning_rate", "train.batch_size"}


def test_a_half_written_trial_has_not_ended(tmp_path: Path) -> None:
    search(tmp_path, "hydra.sweeper.n_trials=1")
    broken = made.trial(tmp_path, "0" * 16, values={"train.learning_rate": 0.02, "train.batch_size": 8})
    (broken / "run.json").write_text('{"status": "do', encoding="utf-8")
    assert search(tmp_path, "hydra.sweeper.n_trials=2") == [1]
