"""The runner over the real stages data and train: reuse with reasons, force, missing inputs, damage, failures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import runner
from phi_runner.config.schema import FileData, FullTrain, RunConfig, StageName
from phi_runner.errors import DataProblem, MissingInput
from tests import runs

_DATA = StageName.data


def _perform(config: RunConfig, *, outputs: Path, name: str, overrides: list[str] | None = None) -> dict[str, Any]:
    folder = outputs / "runs" / name
    try:
        runner.perform(config, folder=folder, overrides=overrides or [], recipe="", trial=None)
    finally:
        found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    data = FileData(train_file=str(runs.facts_file(tmp_path)))
    return runs.config(_DATA, outputs=tmp_path / "outputs", data=data)


def _stage(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in record["stages"] if stage["name"] == name)


def test_a_second_run_reuses_and_says_so(config: RunConfig, tmp_path: Path) -> None:
    first = _perform(config, outputs=tmp_path / "outputs", name="1")
    second = _perform(config, outputs=tmp_path / "outputs", name="2")
    assert (_stage(first, "data")["status"], _stage(first, "data")["why"]) == ("done", "no result yet")
    assert (_stage(second, "data")["status"], _stage(second, "data")["why"]) == ("reused", "unchanged")
    assert _stage(first, "data")["key"] == _stage(second, "data")["key"]


def test_a_changed_value_is_named_as_the_reason(config: RunConfig, tmp_path: Path) -> None:
    _perform(config, outputs=tmp_path / "outputs", name="1")
    record = _perform(replace(config, seed=7), outputs=tmp_path / "outputs", name="2")
    assert _stage(record, "data")["why"] == "seed 0 -> 7"


def test_changed_bytes_are_named_as_the_reason(config: RunConfig, tmp_path: Path) -> None:
    _perform(config, outputs=tmp_path / "outputs", name="1")
    runs.facts_file(tmp_path, copies=3)
    record = _perform(config, outputs=tmp_path / "outputs", name="2")
    assert _stage(record, "data")["why"] == "bytes of facts.jsonl changed"
    assert _stage(record, "data")["summary"].startswith("14 train rows, 4 test rows")


def test_force_runs_again(config: RunConfig, tmp_path: Path) -> None:
    _perform(config, outputs=tmp_path / "outputs", name="1")
    record = _perform(replace(config, force=[_DATA]), outputs=tmp_path / "outputs", name="2")
    assert (_stage(record, "data")["status"], _stage(record, "data")["why"]) == ("done", "force=[data]")


def test_a_damaged_result_is_made_again(config: RunConfig, tmp_path: Path) -> None:
    first = _perform(config, outputs=tmp_path / "outputs", name="1")
    victim = Path(_stage(first, "data")["result"]) / "train_data.jsonl"
    victim.write_text("")
    record = _perform(config, outputs=tmp_path / "outputs", name="2")
    assert "damaged (train_data.jsonl has 0 bytes" in _stage(record, "data")["why"]
    assert victim.stat().st_size > 0


def test_a_missing_input_names_the_command_that_makes_it(config: RunConfig, tmp_path: Path) -> None:
    alone = replace(config, stages=[StageName.evaluate])
    with pytest.raises(MissingInput, match=r"type: python -m phi_runner seed=0 'stages=\[data,train,evaluate\]'"):
        _perform(alone, outputs=tmp_path / "outputs", name="1", overrides=["seed=0", "stages=[evaluate]"])


def test_an_unselected_input_comes_from_the_store(config: RunConfig, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    first = _perform(config, outputs=outputs, name="1")
    quick = FullTrain(**runs.train_values(epochs=1))
    record = _perform(replace(config, stages=[StageName.train], train=quick), outputs=outputs, name="2")
    assert _stage(record, "train")["status"] == "done"
    said = [event["message"] for event in record["events"] if event["stage"] == "train"]
    assert any(message.startswith(f"reads data {_stage(first, 'data')['key'][:12]}") for message in said)


def test_an_unselected_input_that_contradicts_what_was_typed_is_not_taken(config: RunConfig, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    _perform(config, outputs=outputs, name="1")
    other = replace(config, stages=[StageName.train], data=FileData(train_file="other.jsonl"))
    with pytest.raises(MissingInput, match="that fits the rest of this run"):
        _perform(other, outputs=outputs, name="2", overrides=["data.train_file=other.jsonl"])


def test_a_model_is_never_measured_on_a_split_it_was_not_trained_with(config: RunConfig, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    quick = FullTrain(**runs.train_values(epochs=1))
    both = replace(config, stages=[_DATA, StageName.train], train=quick)
    _perform(both, outputs=outputs, name="1")
    second = _perform(replace(both, seed=1), outputs=outputs, name="2")
    other = replace(both, stages=[StageName.evaluate], train=FullTrain(**runs.train_values(epochs=2)))
    record = _perform(other, outputs=outputs, name="3")
    manifest = json.loads((Path(_stage(record, "evaluate")["result"]) / "manifest.json").read_text())
    assert manifest["inputs"] == {name: _stage(second, name)["key"] for name in ("data", "train")}


def test_a_forced_stage_that_fails_leaves_the_old_result(config: RunConfig, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    first = _perform(config, outputs=outputs, name="1")
    result = Path(_stage(first, "data")["result"])
    source = Path(config.data.train_file)  # type: ignore[attr-defined]
    source.chmod(0o644)
    work = outputs / "store/data" / f".{_stage(first, 'data')['key']}.partial"
    (work / "train.arrow").mkdir(parents=True)  # a folder where a file must go makes the stage fail
    marker = work.with_suffix(".scratch") / "forced"
    marker.parent.mkdir()
    marker.touch()
    with pytest.raises(OSError, match=r"train\.arrow"):
        _perform(replace(config, force=[_DATA]), outputs=outputs, name="2")
    assert (result / "train.arrow").is_file()


def test_a_result_that_was_finished_but_not_yet_in_place_is_taken(config: RunConfig, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    first = _perform(config, outputs=outputs, name="1")
    result = Path(_stage(first, "data")["result"])
    result.rename(result.with_name(f".{result.name}.partial"))  # what a kill just before the rename leaves
    assert _stage(_perform(config, outputs=outputs, name="2"), "data")["status"] == "reused"


def test_a_fixed_run_folder_can_be_used_again(config: RunConfig, tmp_path: Path) -> None:
    for _ in range(2):
        record = _perform(config, outputs=tmp_path / "outputs", name="same")
    assert record["status"] == "done"


def test_a_failed_stage_leaves_a_true_record_and_nothing_in_the_store(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"messages": []}\n')
    config = runs.config(_DATA, StageName.train, outputs=tmp_path / "outputs", data=FileData(train_file=str(file)))
    with pytest.raises(DataProblem):
        _perform(config, outputs=tmp_path / "outputs", name="1")
    record = json.loads((tmp_path / "outputs/runs/1/run.json").read_text())
    assert record["status"] == "failed"
    assert [stage["status"] for stage in record["stages"]] == ["failed", "waiting"]
    assert not [folder for folder in (tmp_path / "outputs/store/data").iterdir() if not folder.name.startswith(".")]


def test_the_run_folder_holds_config_log_and_links(config: RunConfig, tmp_path: Path) -> None:
    _perform(config, outputs=tmp_path / "outputs", name="1")
    folder = tmp_path / "outputs/runs/1"
    assert "train_file" in (folder / "config.yaml").read_text()
    assert "data      stage finished" in (folder / "run.log").read_text()
    assert (folder / "results/data/train_data.jsonl").is_file()


def test_the_code_that_a_key_covers_includes_every_module_the_stage_imports() -> None:
    """A module that a stage uses but does not name would let an old result pass for a new one."""
    from tests.imports import package_modules_of

    for stage in runner.STAGES:
        if stage.produces is None or not stage.pure:
            continue
        used = package_modules_of(f"phi_runner/stages/{stage.name}.py")
        covered = {source for source in used if any(source == c or source.startswith(f"{c}/") for c in stage.code)}
        assert used == covered, f"{stage.name} uses {sorted(used - covered)} without naming it in code"
