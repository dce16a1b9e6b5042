"""A sweep in MLflow: one parent, found again, with the trainings of its trials as children."""

from pathlib import Path

import pytest

from phi_runner import tracking
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import Pruned
from phi_runner.sweep import parent
from tests import runs

pytestmark = pytest.mark.filterwarnings("default")  # MLflow asks SQLAlchemy for what that deprecates
FOLDER = "outputs/sweeps/it's_a_sweep"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tracking database for all tests here: making one takes seconds."""
    return tmp_path_factory.mktemp("tracked")


def trial(outputs: Path, name: str) -> RunConfig:
    """Return the config of a trial."""
    config = runs.config(StageName.train, outputs=outputs)
    folder = outputs / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    config.sweep.trial_folder = str(folder)
    return config


def test_trainings_of_a_sweep_have_one_parent_and_a_single_run_has_none(outputs: Path) -> None:
    first, second = (parent.tags(trial(outputs, name), outputs=outputs) for name in ("one", "two"))
    assert first[tracking.PARENT_TAG] == second[tracking.PARENT_TAG]
    assert (first["phi_runner.trial"], second["phi_runner.trial"]) == ("one", "two")
    assert parent.tags(runs.config(StageName.train, outputs=outputs), outputs=outputs) == {}


def test_the_parent_is_found_by_its_tag_and_gets_the_best_of_each_call(outputs: Path) -> None:
    from mlflow import MlflowClient

    config = trial(outputs, "one")
    before = parent.tags(config, outputs=outputs)[tracking.PARENT_TAG]
    sweep = outputs / FOLDER
    (sweep / "leaderboard.json").write_text("{}", encoding="utf-8")
    for rate, loss in (("0.001", 2.0), ("0.002", 1.5)):
        parent.finish(
            config.tracking, outputs=outputs, folder=sweep, best={"train.learning_rate": rate},
            metrics={"best_loss_after": loss}, files=[sweep / "leaderboard.json"],
        )  # fmt: skip
    client = MlflowClient(tracking.uri_of(config.tracking, outputs=outputs))
    run = client.get_run(before)
    assert run.info.status == "FINISHED"
    assert run.data.tags["best.train.learning_rate"] == "0.002"
    assert run.data.metrics["best_loss_after"] == 1.5
    assert [file.path for file in client.list_artifacts(before)] == ["leaderboard.json"]
    assert parent.tags(config, outputs=outputs)[tracking.PARENT_TAG] == before


def test_a_pruned_training_is_killed_and_not_failed(outputs: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    config = trial(outputs, "three")
    tags = parent.tags(config, outputs=outputs)
    run = tracking.open_run(config.tracking, outputs=outputs, name="train-x", marker=tmp_path / "run", tags=tags)
    run.fail(Pruned("given up after step 3"))
    client = MlflowClient(tracking.uri_of(config.tracking, outputs=outputs))
    found = client.get_run(run.run_id)
    assert (found.info.status, found.data.tags["phi_runner.pruned"]) == ("KILLED", "given up after step 3")
    assert found.data.tags[tracking.PARENT_TAG] == tags[tracking.PARENT_TAG]
    again = tracking.open_run(config.tracking, outputs=outputs, name="train-x", marker=tmp_path / "run", tags=tags)
    assert again.run_id == run.run_id
    again.fail(ValueError("no"))
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_a_sweep_without_a_tracked_training_needs_no_tracker(tmp_path: Path) -> None:
    config = runs.config(StageName.data, outputs=tmp_path)
    parent.finish(config.tracking, outputs=tmp_path, folder=tmp_path, best={}, metrics={}, files=[])
    assert not (tmp_path / "mlflow.db").exists()
