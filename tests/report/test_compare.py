"""Runs side by side: what differs is shown, what is missing is said."""

from pathlib import Path

import pytest

from phi_runner import runner
from phi_runner.config import check
from phi_runner.config.schema import AccountAzure, StageName
from phi_runner.errors import ConfigProblem
from phi_runner.report import compare, compare_page, run_folder
from tests import html, runs
from tests.report import folders


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("outputs") / "runs"
    return [folders.full_run(place / "a"), folders.full_run(place / "b", shift=0.25)]


def test_what_differs_is_found(both: list[Path]) -> None:
    read = [run_folder.read(folder) for folder in both]
    assert {row.name for row in compare.settings(read)} == {"train.learning_rate"}
    assert {row.name for row in compare.versions(read)} == {"torch"}
    figures = {row.name: row for row in compare.figures(read)}
    assert figures["held-out loss, after"].differences() == [0.25]
    assert [one.answers for one in compare.answers(read)] == [("a0.0", "a0.25")]


def test_the_page_is_sound_for_two_and_for_three(both: list[Path], tmp_path: Path) -> None:
    for folders_ in (both, [*both, tmp_path / "gone"]):
        read = html.read(compare_page.render([run_folder.read(folder) for folder in folders_]))
        assert "B - A" in read.text
        assert {"runs", "figures", "curves", "settings", "answers", "versions"} <= set(read.ids)
    assert "half-written" in read.text


def test_the_stage_leaves_the_page_and_prints_the_tables(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    outputs = both[0].parents[1]
    config = runs.config(StageName.compare, outputs=outputs, azure=AccountAzure(), runs=["a", str(both[1])])
    check.check(config)
    folder = outputs / "runs" / "compared"
    runner.perform(config, folder=folder, overrides=[], recipe="compare", trial=None)
    html.read((folder / "compare.html").read_text(), folder=folder)
    html.read((folder / "report.html").read_text(), folder=folder)
    printed = capsys.readouterr().out
    assert "train.learning_rate" in printed
    assert "held-out loss, after" in printed


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "stage compare needs two runs: type runs="),
        (["a", "bb"], "there is no run 'bb'"),
        (["a", "/"], "/ is no run folder: it holds no run.json"),
    ],
)
def test_runs_that_are_missing_are_said_in_one_line(both: list[Path], asked: list[str], told: str) -> None:
    config = runs.config(StageName.compare, outputs=both[0].parents[1], azure=AccountAzure(), runs=asked)
    with pytest.raises(ConfigProblem) as said:
        check.check(config)
    assert told in str(said.value)
    assert "\n" not in str(said.value)
