"""Trials that are given up: by whom they are judged, and how a real training ends and goes on."""

import json
from pathlib import Path

import pytest

from phi_runner.artifacts import TrainedModel
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import Pruned
from phi_runner.search.pruning import PrunerName, falls_behind
from phi_runner.stages import data, train
from phi_runner.stages.stage import Inputs
from phi_runner.sweep import pruning
from tests import runs
from tests.sweep import made

GOOD = [(25, 3.0), (50, 2.0), (75, 1.5), (100, 1.2)]


def judged(own: list[tuple[int, float]], others: list[list[tuple[int, float]]], **changes: object) -> bool:
    """Ask with the defaults."""
    settings = {"pruner": PrunerName.median, "startup": 3, "warmup": 25} | changes
    return falls_behind(own, others, **settings)  # type: ignore[arg-type]


def test_what_is_worse_than_half_of_the_others_was_is_given_up() -> None:
    others = [[(at, loss + more) for at, loss in GOOD] for more in (-0.1, 0.0, 0.1)]
    assert judged([(25, 3.0), (50, 2.5)], others)
    assert not judged([(25, 3.5), (50, 1.9)], others), "its best counts"
    assert not judged([(25, 3.0), (50, 2.5)], others, startup=4), "too few have finished"
    assert not judged([(25, 9.0)], others, warmup=26), "too early"
    assert not judged([], others)


def test_only_the_best_quarter_goes_on_where_that_is_asked_for() -> None:
    others = [[(at, loss + more) for at, loss in GOOD] for more in (-0.2, -0.1, 0.0, 0.1)]
    assert judged([(25, 2.93)], others, pruner=PrunerName.percentile)
    assert not judged([(25, 2.93)], others)


def test_trials_that_were_measured_at_other_steps_compare_by_what_they_had_by_then() -> None:
    others = [[(10, 5.0), (20, 4.0), (30, 1.0)]] * 3
    assert judged([(29, 4.5)], others)
    assert not judged([(29, 3.9)], others)


def asked(folder: Path, *, prune: bool = True) -> RunConfig:
    """Return the config of a trial in a sweep's folder."""
    config = runs.config(StageName.train, outputs=folder.parent)
    config.sweep.trial_folder, config.sweep.prune = str(folder), prune
    return config


def test_only_finished_trials_of_the_same_sweep_are_compared_with(tmp_path: Path) -> None:
    for number, status in enumerate(["done", "done", "done", "failed", "pruned", "running"]):
        made.history(made.trial(tmp_path, f"t{number}", values={}, status=status), [3.0, 2.0, 1.5, 1.2])
    made.trial(tmp_path, "without", values={})
    mine = tmp_path / "mine"
    mine.mkdir()
    assert list(pruning.finished(mine)) == [GOOD] * 3
    told = pruning.judge(asked(mine))([(25, 3.5)])
    assert told == (
        "held-out loss 3.500 at 25 % of the training is worse than that of half of the 3 finished trials there"
    )
    assert pruning.judge(asked(mine))([(25, 2.5)]) == ""
    assert pruning.judge(asked(mine, prune=False))([(25, 3.5)]) == ""
    assert json.loads((mine / pruning.CURVE_FILE).read_text(encoding="utf-8")) == [[25, 3.5]]


def test_a_run_that_is_no_trial_is_never_given_up(tmp_path: Path) -> None:
    config = runs.config(StageName.train, outputs=tmp_path)
    config.sweep.prune = True
    assert pruning.judge(config)([(99, 99.0)]) == ""


@pytest.mark.filterwarnings("default")  # a whole stage runs here, with every library's own warnings
def test_a_pruned_training_leaves_no_result_and_goes_on_from_where_it_was(tmp_path: Path) -> None:
    for number in range(3):
        made.history(made.trial(tmp_path / "sweep", f"t{number}", values={}), [0.1, 0.1, 0.1, 0.1])
    mine = tmp_path / "sweep" / "mine"
    mine.mkdir()
    rows = runs.FileData(train_file=str(runs.facts_file(tmp_path)))
    source = runs.config(StageName.data, outputs=tmp_path, data=rows)
    where, _heard = runs.rundir(tmp_path / "data", outputs=tmp_path, stage="data")
    inputs = Inputs({StageName.data: data.run(source, Inputs({}, {}), where)}, {})
    config = asked(mine)
    config.train = runs.FullTrain(**runs.train_values(epochs=4))
    place, heard = runs.rundir(tmp_path / "work.partial", outputs=tmp_path)
    with pytest.raises(Pruned, match=r"given up after step \d+ of \d+, which is saved: held-out loss .* is worse"):
        train.run(config, inputs, place)
    assert not (place.folder / "history.json").exists()
    assert list((place.scratch / "checkpoints").glob("checkpoint-*"))
    config.sweep.prune = False
    trained = train.run(config, inputs, place)
    assert isinstance(trained, TrainedModel)
    assert "the last checkpoint" in heard.text()
