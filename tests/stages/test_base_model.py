"""The base model behind an endpoint: found through the lineage in the store, wherever training had it from."""

from pathlib import Path

import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Endpoint, Registered, TrainedModel
from phi_runner.config.schema import LocalDeploy, RunConfig, StageName
from phi_runner.errors import ConfigProblem
from phi_runner.stages import base_model
from phi_runner.stages.stage import Inputs

KEYS = {StageName.train: "t1", StageName.register: "r1", StageName.deploy: "d1"}


def trained(outputs: Path, *, base: str) -> TrainedModel:
    folder = outputs / "store" / "train" / "t1"
    folder.mkdir(parents=True)
    made = TrainedModel(
        folder=folder, base=base, revision="", trust_remote_code=False, adapter=False, max_length=64, parameters=1,
        steps=1, loss_first=2.0, loss_last=1.0, template_hash="0", data_hash="0", tracking_run="",
    )  # fmt: skip
    artifacts.save(made)
    return made


def registered(outputs: Path) -> Registered:
    folder = outputs / "store" / "register" / "r1"
    folder.mkdir(parents=True)
    made = Registered(
        folder=folder, name="phi", version="3", alias="champion", tracking_uri="", source="train/t1/model",
        template_hash="0",
    )  # fmt: skip
    artifacts.save(made)
    return made


def test_lineage_is_read_from_the_store(tmp_path: Path):
    inputs = Inputs({}, KEYS)
    assert base_model.registered_of(inputs, outputs=tmp_path) is None
    made, came_from = registered(tmp_path), trained(tmp_path, base="base")
    assert base_model.registered_of(inputs, outputs=tmp_path) == made
    assert base_model.trained_of(inputs, outputs=tmp_path) == came_from
    assert base_model.trained_of(Inputs({}, {}), outputs=tmp_path) is None


def test_base_inside_the_result_and_a_local_folder_are_served_where_they_lie(tmp_path: Path):
    own = trained(tmp_path, base="base")
    (own.folder / "base").mkdir()
    assert base_model.folder_of(own) == own.folder / "base"
    elsewhere = tmp_path / "models"
    elsewhere.mkdir()
    assert base_model.folder_of(trained(tmp_path / "other", base=str(elsewhere))) == elsewhere


def test_hubs_model_is_served_from_where_training_has_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    snapshot = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    refs = tmp_path / "hub" / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert base_model.folder_of(trained(tmp_path, base="some/model")) == snapshot
    with pytest.raises(ConfigProblem, match=r"some/other cannot be had: .*; type chat\.compare=false"):
        base_model.folder_of(trained(tmp_path / "other", base="some/other"))


def test_settings_are_the_tuned_endpoints_own_but_for_its_place(tmp_path: Path):
    endpoint = Endpoint(
        folder=tmp_path, name="phi-endpoint", url="", key_file="", pid=0, model="phi/3", template_hash="0",
        detached=True,
    )  # fmt: skip
    config = RunConfig(deploy=LocalDeploy(port=8000, detach=True, max_concurrent=2, max_new_tokens=9))
    made = base_model.settings_of(config, endpoint)
    assert (made.name, made.port, made.detach, made.quality_prompts) == ("phi-endpoint-base", 0, False, 0)
    assert (made.max_concurrent, made.max_new_tokens) == (2, 9)
    with pytest.raises(ConfigProblem, match="type deploy=local"):
        base_model.settings_of(RunConfig(), endpoint)
