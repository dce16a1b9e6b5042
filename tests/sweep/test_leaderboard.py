"""The order of a sweep's trials, from folders as runs leave them to the table, the file and the exit code."""

import json
from pathlib import Path

import pytest

from phi_runner.config.objectives import OBJECTIVES
from phi_runner.config.schema.sweep import ObjectiveName
from phi_runner.sweep import leaderboard, table, trials
from phi_runner.sweep.finish import finish
from phi_runner.sweep.leaderboard import Leaderboard
from tests.sweep import made

LOSS, EXACT = OBJECTIVES[ObjectiveName.loss_after], OBJECTIVES[ObjectiveName.exact_after]
RATE = "train.learning_rate"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A grid with a tie, a pruned and a failed trial, one that was killed and one that left nothing readable."""
    made.trial(tmp_path, "a" * 16, values={RATE: 1e-3}, number=0, metrics={"loss_after": 2.0, "exact_after": 0.5})
    made.trial(tmp_path, "b" * 16, values={RATE: 2e-3}, number=1, metrics={"loss_after": 1.5, "exact_after": 0.25})
    made.trial(tmp_path, "c" * 16, values={RATE: 3e-3}, number=2, metrics={"loss_after": 2.0, "exact_after": 0.75})
    made.trial(tmp_path, "d" * 16, values={RATE: 4e-3}, number=3, status="failed", error="no luck", tries=2)
    made.trial(tmp_path, "e" * 16, values={RATE: 5e-3}, number=4, status="pruned", error="fell behind")
    made.trial(tmp_path, "f" * 16, values={RATE: 6e-3}, number=5, status="running")
    (tmp_path / ("0" * 16)).mkdir()
    (tmp_path / ("0" * 16) / "trial.json").write_text('{"id": "000', encoding="utf-8")
    (tmp_path / ".locks").mkdir()
    return tmp_path


def board(sweep: Path, *, asked: list[str] | None = None, objective: str = "loss_after") -> Leaderboard:
    """Return the trials in order."""
    by = OBJECTIVES[ObjectiveName(objective)]
    return leaderboard.of(trials.read(sweep), objective=by, name=sweep.name, asked=asked)


def test_trials_are_ranked_with_ties_and_the_unfinished_come_after(sweep: Path) -> None:
    found = board(sweep)
    assert [(row.trial.id[0], row.rank) for row in found.rows] == [
        ("b", 1), ("a", 2), ("c", 2), ("e", None), ("d", None), ("f", None), ("0", None),
    ]  # fmt: skip
    assert [row.difference for row in found.ranked] == [0.0, 0.5, 0.5]
    assert found.best is found.rows[0]
    assert found.counts == {"done": 3, "pruned": 1, "failed": 1, "running": 1, "not finished": 1}
    assert not found.ended_well


def test_another_objective_turns_the_order_round(sweep: Path) -> None:
    found = board(sweep, objective="exact_after")
    assert [row.trial.id[0] for row in found.ranked] == ["c", "a", "b"]
    assert found.ranked[-1].difference == -0.5


def test_what_was_not_asked_for_is_told_apart_and_what_left_nothing_is_told(sweep: Path) -> None:
    found = board(sweep, asked=["a" * 16, "b" * 16, "9" * 16])
    assert [row.trial.id[0] for row in found.rows] == ["b", "a", "9"]
    assert found.rows[-1].status == trials.UNREADABLE
    assert {row.trial.id[0] for row in found.others} == set("cdef0")


def test_pruned_trials_are_no_failure(tmp_path: Path) -> None:
    made.trial(tmp_path, "a" * 16, values={RATE: 1e-3}, metrics={"loss_after": 2.0})
    made.trial(tmp_path, "b" * 16, values={RATE: 2e-3}, status="pruned")
    assert board(tmp_path).ended_well


def test_the_file_holds_every_trial_with_all_that_is_known_of_it(sweep: Path) -> None:
    document = json.loads(json.dumps(board(sweep, asked=[letter * 16 for letter in "abde"]).document()))
    assert document["best"] == "b" * 16
    assert document["objective"] == {"name": "loss_after", "title": "held-out loss", "maximise": False}
    assert document["keys"] == [RATE]
    first, *_, last = document["trials"]
    assert first | {"curve": []} == {
        "rank": 1, "id": "b" * 16, "number": 1, "values": {RATE: 0.002}, "status": "done", "objective": 1.5,
        "difference": 0.0, "low": None, "high": None, "metrics": {"loss_after": 1.5, "exact_after": 0.25},
        "seconds": 2.5, "tries": 1, "reused": ["data"], "error": "", "curve": [], "folder": "b" * 16,
    }  # fmt: skip
    assert (last["status"], last["tries"], last["error"]) == ("failed", 2, "no luck")
    assert {item["id"][0] for item in document["others"]} == set("cf0")


def test_a_trial_whose_own_interval_holds_the_best_is_not_called_worse(sweep: Path) -> None:
    for name, low in (("a", -0.6), ("c", -0.1)):
        place = sweep / (name * 16) / "results" / "evaluate"
        place.mkdir(parents=True)
        figure = {"name": "loss", "before": 2.05, "after": 2.0, "difference": -0.05, "low": low, "high": 0.1}
        (place / "card.json").write_text(json.dumps({"figures": [figure]}), encoding="utf-8")
    found = board(sweep)
    assert [(row.low, row.high) for row in found.ranked[1:]] == [
        (pytest.approx(1.45), pytest.approx(2.15)), (pytest.approx(1.95), pytest.approx(2.15)),
    ]  # fmt: skip
    assert table.distinct(found) == f"not clearly worse than the best, by their own intervals: {'a' * 8}"


def test_the_table_has_a_row_for_each_trial_and_the_exit_code_knows(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not finish(sweep, asked=[letter * 16 for letter in "abcd"])
    shown = capsys.readouterr().out
    assert "held-out loss ↓" in shown
    assert "+0.5000" in shown
    assert "failed, 2 tries: no luck" in shown
    assert "4 trials: 3 done, 1 failed; 3 of earlier calls in the folder" in shown
    assert (sweep / "leaderboard.json").is_file()
    assert {"parallel.png", "history.png", "importance.png", "report.html"} <= {file.name for file in sweep.iterdir()}


def test_a_page_tells_the_failures_and_holds_its_plots(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finish(sweep, asked=[letter * 16 for letter in "abcde"])
    assert "warning: best.yaml was not written" in capsys.readouterr().err, "the best trial's config is gone"
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert "no luck" in page
    assert page.count("<svg") == 3
    assert f'href="{"b" * 16}/report.html"' in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_nothing_is_drawn_again_when_nothing_has_changed(sweep: Path) -> None:
    finish(sweep)
    before = (sweep / "report.html").stat().st_mtime_ns
    finish(sweep)
    assert (sweep / "report.html").stat().st_mtime_ns == before


def test_an_empty_folder_ends_in_a_table_and_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not finish(tmp_path / "none", asked=[])
    assert "0 trials" in capsys.readouterr().out


def test_two_keys_with_the_same_last_word_keep_their_whole_names(tmp_path: Path) -> None:
    made.trial(tmp_path, "a" * 16, values={"train.seed": 1, "data.seed": 2, RATE: 0.1}, metrics={"loss_after": 1.0})
    assert table.columns(board(tmp_path))[2:5] == ["train.seed", "data.seed", "learning_rate"]
