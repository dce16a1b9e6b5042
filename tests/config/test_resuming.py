"""A checkpoint that is named must belong to the training that goes on from it; what may differ, may."""

from dataclasses import replace
from pathlib import Path

import pytest

from phi_runner import keys
from phi_runner.config import resuming
from phi_runner.config.resuming import Settings
from phi_runner.config.schema import AzureCompute, FullTrain, LocalModel, RunConfig, StageName
from phi_runner.stages.stage import Inputs
from phi_runner.stages.train import STAGE
from tests import runs


def _config(outputs: Path, **changes: object) -> RunConfig:
    return runs.config(StageName.train, outputs=outputs, train=FullTrain(**runs.train_values(**changes)))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints" / "checkpoint-40"
    folder.mkdir(parents=True)
    Settings(decisive=resuming.decisive(_config(tmp_path))).write(folder)
    return folder


def _problem(config: RunConfig) -> str:
    [found] = resuming.problems(config)
    return found


def test_a_checkpoint_of_the_same_settings_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    free = {"save_steps": 3, "log_steps": 7, "micro_batch": 2, "memory_gib": 3.0, "eval_batch_size": 1}
    assert list(resuming.problems(_config(tmp_path, resume_from=str(checkpoint), **free))) == []


def test_one_of_other_settings_is_refused_and_says_what_changed(checkpoint: Path, tmp_path: Path) -> None:
    other = _config(tmp_path, resume_from=str(checkpoint), learning_rate=1e-2, epochs=31)
    assert _problem(replace(other, seed=4)) == (
        f"train.resume_from={checkpoint} was left by other settings: train.learning_rate 0.005 -> 0.01; "
        "train.epochs 30 -> 31; seed 0 -> 4; type them as they were, or leave train.resume_from out"
    )
    adapter = replace(other, train=runs.lora(resume_from=str(checkpoint)))
    assert "was left by other settings: train full -> lora; type" in _problem(adapter)


def test_what_is_no_checkpoint_is_refused_with_the_nearest_one(checkpoint: Path, tmp_path: Path) -> None:
    near = _config(tmp_path, resume_from=str(checkpoint.with_name("checkpoint-41")))
    assert _problem(near).endswith(f"is no folder: did you mean train.resume_from={checkpoint}?")
    above = _config(tmp_path, resume_from=str(checkpoint.parent))
    assert _problem(above).endswith(f"is no checkpoint, it lacks settings.json: type train.resume_from={checkpoint}")
    (tmp_path / "empty").mkdir()
    assert "name a folder checkpoint-N" in _problem(_config(tmp_path, resume_from=str(tmp_path / "empty")))
    gone = _config(tmp_path, resume_from=str(tmp_path / "no" / "checkpoint-1"))
    assert f"there is no folder {tmp_path / 'no'}" in _problem(gone)


def test_a_job_elsewhere_cannot_read_a_folder_here(checkpoint: Path, tmp_path: Path) -> None:
    there = replace(
        _config(tmp_path, resume_from=str(checkpoint)),
        compute=AzureCompute(cluster="c", vm_size="Standard_E16s_v3", image="i"),
    )
    assert "goes on from its own checkpoints: leave it out" in _problem(there)


def test_a_model_folder_is_known_by_its_files_not_by_its_place(tiny_model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(tiny_model)
    here, there = (
        resuming.decisive(replace(_config(tmp_path), model=LocalModel(path=str(place))))
        for place in (tiny_model, moved)
    )
    assert here == there
    assert resuming.changes(here, there | {"files of model.path": "others"}).startswith("files of model.path")


def test_how_it_is_saved_and_what_memory_it_takes_make_no_other_result(tmp_path: Path) -> None:
    inputs = Inputs({}, {StageName.data: "d"})
    plain = keys.parts(STAGE, _config(tmp_path), inputs)
    same = keys.parts(STAGE, _config(tmp_path, micro_batch=1, save_steps=3, resume_from="x", memory_gib=1.0), inputs)
    assert same == plain
    assert keys.parts(STAGE, _config(tmp_path, learning_rate=1.0), inputs) != plain
    known = {f"config:{path}" for path in resuming.NOT_THE_RESULT}
    assert not known & set(plain)


def test_every_path_that_may_change_is_one_of_the_config(tmp_path: Path) -> None:
    from phi_runner.config.dump import flat

    config = _config(tmp_path)
    paths = flat(config, part="train") | flat(config, part="model")
    for free in resuming._FREE:
        assert any(path == free or path.startswith(f"{free}.") for path in paths), free
