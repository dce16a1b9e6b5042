"""A run again from nothing: the same, or where and because of what not. Each repetition is a process of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi_runner import runner
from phi_runner.config import check
from phi_runner.config.schema import AccountAzure, FullTrain, ReproduceConfig, StageName
from phi_runner.errors import ConfigProblem, MissingInput, NotReproduced
from tests import html, runs
from tests.report import folders


def _reproduce(run: Path, *, name: str = "again", **changes: Any) -> Path:
    outputs = run.parents[1]
    config = runs.config(StageName.reproduce, outputs=outputs, azure=AccountAzure(), run=str(run), **changes)
    check.check(config)
    folder = outputs / "runs" / name
    runner.perform(config, folder=folder, overrides=[f"run={run}"], recipe="reproduce", trial=None)
    return folder


def test_the_same_comes_out_and_a_changed_pin_is_named_before(tmp_path: Path) -> None:
    run = folders.data_run(tmp_path)
    made_with = json.loads((run / "versions.json").read_text())
    made_with["distributions"]["pyarrow"] = made_with["stages"]["data"]["parts"]["library:pyarrow"] = "1.0"
    made_with["threads"] = 64
    folders.write(run, "versions.json", made_with)
    folder = _reproduce(run)
    found = json.loads((folder / "reproduced.json").read_text())
    assert found["verdict"] == "same"
    assert found["stages"][0]["files"] > 3
    assert any(line.startswith("library pyarrow 1.0 -> ") for line in found["changed"])
    assert "threads 64 -> 1" in found["changed"]
    assert not (folder / "again").exists()
    assert "library pyarrow 1.0" in html.read((folder / "report.html").read_text(), folder=folder).text
    log = (folder / "run.log").read_text()
    assert log.index("other than then") < log.index("data: same")


def test_a_changed_row_is_named(tmp_path: Path) -> None:
    run = folders.data_run(tmp_path)
    file = tmp_path / "facts.jsonl"
    file.write_text(file.read_text().replace("Mars.", "Venus.", 1))
    with pytest.raises(
        NotReproduced, match=r"differs at stage data because rows of the data changed \(1 gone, 1 new\)"
    ):
        _reproduce(run)
    folder = run.parent / "again"
    found = json.loads((folder / "reproduced.json").read_text())
    assert "Mars." in found["verdict"]
    assert "Venus." in found["verdict"]
    assert "local file facts.jsonl changed" in found["changed"]
    assert (folder / "again" / "run" / "run.json").is_file()


def test_a_run_that_fails_this_time_says_why(tmp_path: Path) -> None:
    run = folders.data_run(tmp_path)
    (tmp_path / "facts.jsonl").unlink()
    with pytest.raises(NotReproduced, match=r"facts\.jsonl"):
        _reproduce(run)


def test_what_cannot_be_repeated_is_said_at_once(tmp_path: Path) -> None:
    run = folders.data_run(tmp_path)
    with pytest.raises(MissingInput, match=r"has no result of train to compare with: finish it first with: python -m"):
        _reproduce(run, reproduce=ReproduceConfig(stages=[StageName.train]))
    (run / "versions.json").unlink()
    with pytest.raises(MissingInput, match=r"versions\.json is missing"):
        _reproduce(run, name="third")
    with pytest.raises(ConfigProblem, match="stage reproduce needs an earlier run"):
        check.check(runs.config(StageName.reproduce, outputs=tmp_path, azure=AccountAzure()))
    with pytest.raises(ConfigProblem, match=r"there is no run 'frist'.*did you mean first"):
        check.check(runs.config(StageName.reproduce, outputs=tmp_path / "outputs", azure=AccountAzure(), run="frist"))


@pytest.mark.slow
def test_weights_come_out_bit_for_bit(tmp_path: Path) -> None:
    config = folders.data_config(tmp_path, train=FullTrain(**runs.train_values(epochs=2)))
    config.stages = [StageName.data, StageName.train, StageName.evaluate]
    run = tmp_path / "outputs" / "runs" / "first"
    runner.perform(config, folder=run, overrides=[], recipe="", trial=None)
    found = json.loads((_reproduce(run) / "reproduced.json").read_text())
    assert found["verdict"] == "same"
    assert [one["stage"] for one in found["stages"]] == ["data", "train", "evaluate"]
