"""The stages train, evaluate and register in an emulated workspace: real jobs, the real client, a tiny model."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Artifact, Dataset, Registered, Scorecard, TrainedModel
from phi_runner.config.schema import CatalogTrain, CpuCompute, LocalModel, RunConfig, StageName
from phi_runner.errors import MissingInput, RemoteFailed
from phi_runner.stages import data, evaluate, register, train
from phi_runner.stages.stage import Inputs, Stage
from tests import runs
from tests.azureml import contract
from tests.azureml.workspace import Cloud, ready

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


@dataclass(kw_only=True)
class Row:
    """Stages performed one after the other, as the pipeline does, in a workspace."""

    cloud: Cloud
    config: RunConfig
    made: dict[StageName, Artifact] = field(default_factory=dict)
    said: dict[StageName, str] = field(default_factory=dict)

    def perform(self, stage: Stage, config: RunConfig | None = None, *, number: int = 0) -> Any:
        """Perform a stage; another `number` means another key."""
        outputs = Path(self.config.outputs)
        keys = {name: f"{position:x}{number:x}" * 32 for position, name in enumerate(StageName)}
        place = outputs / "store" / stage.name / keys[stage.name]
        rundir, heard = runs.rundir(place, outputs=outputs, stage=stage.name, key=keys[stage.name])
        try:
            made = stage.run(config or self.config, Inputs(self.made, keys), rundir)
        finally:
            self.said[stage.name] = heard.text()
        assert made is not None
        artifacts.save(made)
        shutil.rmtree(rundir.scratch, ignore_errors=True)  # as the store does
        self.made[stage.name] = made
        return made


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ready(tmp_path_factory.mktemp("azure")) as made:
        yield made


@pytest.fixture(scope="module")
def row(cloud: Cloud) -> Row:
    """Data here; training, measuring and registering in the workspace, with the weights left there."""
    azure = replace(cloud.config.azure, fetch_result=False)
    row = Row(cloud=cloud, config=replace(cloud.config, azure=azure))
    for stage in (data.STAGE, train.STAGE, evaluate.STAGE, register.STAGE):
        row.perform(stage)
    return row


@pytest.fixture(scope="module")
def trained(row: Row) -> TrainedModel:
    found = row.made[StageName.train]
    assert isinstance(found, TrainedModel)
    return found


def test_training_in_the_workspace_leaves_the_weights_there(row: Row, trained: TrainedModel) -> None:
    assert (trained.in_cloud, trained.job_output) == (True, "model_output")
    assert trained.job.startswith("phi-train-")
    assert not trained.model_folder.exists()
    assert (trained.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert trained.steps > 0
    assert "computes on cpu" in row.said[StageName.train]
    assert "progress: loss" in row.said[StageName.train]


def test_its_metrics_are_in_the_tracker_here(row: Row, trained: TrainedModel) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{row.config.outputs}/mlflow.db")
    assert client.get_run(trained.tracking_run).info.status == "FINISHED"
    history = json.loads((trained.folder / "history.json").read_text())
    losses = [line["loss"] for line in history if "loss" in line]
    assert [point.value for point in client.get_metric_history(trained.tracking_run, "loss")] == losses


def test_the_job_is_what_the_tutorial_submits_and_more(row: Row, cloud: Cloud, trained: TrainedModel) -> None:
    (put,) = cloud.puts(f"/jobs/{trained.job}$")
    job = put["request"]["properties"]
    assert job["computeId"].endswith("/computes/cpu-e16s-v3")
    assert "/environments/phi-3-training-environment/versions/" in job["environmentId"]
    assert set(job["inputs"]) == {"train_file", "eval_file", "config"}
    assert set(job["outputs"]) == {"summary", "result", "model_output", "checkpoints"}
    assert job["outputs"]["model_output"]["jobOutputType"] == "mlflow_model"
    assert job["tags"]["phi_runner.stage"] == "train"
    assert job["experimentName"] == "phi_runner"
    assert job["command"].startswith("python -m phi_runner.remote --stage train --train-file ${{inputs.train_file}}")
    (made,) = cloud.puts("/environments/phi-3-training-environment/versions/")
    conda = made["request"]["properties"]["condaFile"]
    assert "python=3.11" in conda
    assert "torch==" in conda
    assert "+cpu" not in conda


def test_the_model_in_the_job_is_measured_there(row: Row, trained: TrainedModel, cloud: Cloud) -> None:
    card = row.made[StageName.evaluate]
    assert isinstance(card, Scorecard)
    assert card.loss_after < card.loss_before
    assert (card.folder / "answers.jsonl").is_file()
    (put,) = cloud.puts("/jobs/phi-evaluate-[^/]+$")
    inputs = put["request"]["properties"]["inputs"]
    assert inputs["trained"]["uri"].endswith(f"azureml/{trained.job}/result/")


def test_the_model_is_registered_from_the_jobs_output_with_its_lineage(
    row: Row, trained: TrainedModel, cloud: Cloud
) -> None:
    registered = row.made[StageName.register]
    assert isinstance(registered, Registered)
    assert registered.asset.endswith(f"/models/finetune-phi-model/versions/{registered.version}")
    assert registered.template_hash == trained.template_hash
    assert registered.answers_file is not None
    assert registered.answers_file.read_bytes() == (row.made[StageName.evaluate].folder / "answers.jsonl").read_bytes()
    (put,) = cloud.puts("/models/finetune-phi-model/versions/")
    model = put["request"]["properties"]
    assert model["modelUri"] == f"azureml://jobs/{trained.job}/outputs/model_output"
    assert model["modelType"] == "mlflow_model"
    assert model["tags"]["phi_runner.job"] == trained.job
    assert model["tags"]["phi_runner.alias"] == "champion"
    assert float(model["tags"]["phi_runner.loss_after"]) > 0
    assert register.STAGE.still_true(row.config, registered, Path(row.config.outputs)) == ""


def test_what_azure_serves_asks_for_what_azures_images_import(trained: TrainedModel) -> None:
    asked = (trained.folder / "model_requirements.txt").read_text()
    assert "azureml-ai-monitoring" in asked
    assert "azureml-inference-server-http" in asked


def test_registering_again_finds_the_version(row: Row, cloud: Cloud) -> None:
    before = row.made[StageName.register]
    assert row.perform(register.STAGE) == before
    assert "was registered before from this very result" in row.said[StageName.register]
    assert len(cloud.puts("/models/finetune-phi-model/versions/")) == 1


def test_a_lost_version_is_noticed(row: Row) -> None:
    registered = row.made[StageName.register]
    assert isinstance(registered, Registered)
    gone = replace(registered, asset=registered.asset.rpartition("/")[0] + "/99")
    told = register.STAGE.still_true(row.config, gone, Path(row.config.outputs))
    assert told == f"the workspace no longer has finetune-phi-model version {gone.version}"


def test_weights_that_were_left_there_cannot_be_used_here(row: Row, trained: TrainedModel) -> None:
    here = replace(row.config, compute=CpuCompute(threads=1))
    with pytest.raises(MissingInput, match=rf"left in the workspace by job {trained.job}: .*compute=azure_cpu"):
        row.perform(evaluate.STAGE, here)


def test_weights_that_were_left_there_are_fetched_when_they_are_wanted(row: Row, cloud: Cloud) -> None:
    before = row.made[StageName.train]
    submitted = cloud.submitted()
    fetching = replace(row.config, azure=replace(row.config.azure, fetch_result=True))
    outputs = Path(row.config.outputs)
    assert train.STAGE.still_true(row.config, before, outputs) == ""
    assert train.STAGE.still_true(fetching, before, outputs) == "its weights were left in the workspace"
    fetched = row.perform(train.STAGE, fetching)
    assert not fetched.in_cloud
    assert (fetched.model_folder / "model.safetensors").is_file()
    assert (fetched.folder / "base" / "config.json").is_file()
    assert cloud.submitted() == submitted
    assert train.STAGE.still_true(fetching, fetched, outputs) == ""
    row.made[StageName.train] = before


def test_a_job_that_the_workspace_does_not_have_is_named(row: Row, trained: TrainedModel) -> None:
    row.made[StageName.train] = replace(trained, job="phi-train-elsewhere")
    try:
        with pytest.raises(MissingInput, match=r"has no job phi-train-elsewhere, and only it holds the weights"):
            row.perform(evaluate.STAGE)
    finally:
        row.made[StageName.train] = trained


def test_a_failure_on_the_node_comes_back_in_our_words(row: Row) -> None:
    config = replace(row.config, train=replace(row.config.train, max_length=1))
    with pytest.raises(RemoteFailed, match=r"failed on its node: no train dialogue fits into train\.max_length=1"):
        row.perform(train.STAGE, config, number=1)


def test_a_model_that_was_trained_here_is_uploaded(row: Row, cloud: Cloud) -> None:
    here = Row(cloud=cloud, config=replace(row.config, compute=CpuCompute(threads=1)))
    here.perform(data.STAGE)
    trained = here.perform(train.STAGE, number=4)
    assert trained.job == ""
    config = replace(here.config, register=replace(here.config.register, name="made-here"))
    registered = here.perform(register.STAGE, config, number=4)
    (put,) = cloud.puts("/models/made-here/versions/")
    assert "/datastores/workspaceblobstore/paths/LocalUpload/" in put["request"]["properties"]["modelUri"]
    assert registered.source == f"train/{trained.folder.name}/model"


@pytest.mark.slow
def test_two_processes_train_one_model(row: Row, cloud: Cloud) -> None:
    azure = replace(row.config.azure, nodes=1, processes_per_node=2)
    kept = dict(row.made)
    trained = row.perform(train.STAGE, replace(row.config, azure=azure), number=2)
    row.made.update(kept)
    (put,) = cloud.puts(f"/jobs/{trained.job}$")
    job = put["request"]["properties"]
    assert job["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 2}
    assert job["resources"]["instanceCount"] == 1
    before = kept[StageName.train]
    assert isinstance(before, TrainedModel)
    assert trained.steps < before.steps  # each process sees its share of the rows
    assert row.said[StageName.train].count("computes on cpu") == 1


def test_the_catalogs_fine_tune_trains_and_registers_without_weights_here(row: Row, cloud: Cloud) -> None:
    settings = CatalogTrain(**runs.train_values(warmup_ratio=0.2, epochs=3), hyperparameters={"apply_lora": "true"})
    config = replace(row.config, train=settings, register=replace(row.config.register, name="catalog-phi"))
    assert evaluate.STAGE.skip(config)
    assert register.STAGE.reads(config) == (StageName.train,)
    catalog = Row(cloud=cloud, config=config)
    catalog.perform(data.STAGE)
    trained = catalog.perform(train.STAGE, number=3)
    assert (trained.in_cloud, trained.job_output) == (True, "registered_model")
    (put,) = cloud.puts(f"/jobs/{trained.job}$")
    job = put["request"]["properties"]
    details = job["fineTuningDetails"]
    assert (job["jobType"], details["taskType"], details["modelProvider"]) == ("FineTuning", "chatCompletion", "Custom")
    assert details["model"]["uri"] == "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/labels/latest"
    assert details["trainingData"]["jobInputType"] == details["validationData"]["jobInputType"] == "uri_file"
    rates = details["hyperParameters"]
    assert all(isinstance(value, str) for value in rates.values())
    assert (rates["learning_rate"], rates["lr_scheduler_type"], rates["num_train_epochs"]) == ("0.005", "cosine", "3")
    assert (rates["warmup_steps"], rates["apply_lora"]) == ("2", "true")
    assert job["resources"]["instanceTypes"] == ["Standard_NC24ads_A100_v4"]
    assert job["outputs"]["registered_model"]["assetName"] == "catalog-phi"
    registered = catalog.perform(register.STAGE, number=3)
    assert registered.asset
    assert registered.source == ""


@pytest.mark.slow
def test_a_grid_becomes_one_sweep_job(row: Row, cloud: Cloud) -> None:
    from phi_runner.compute import azure

    outputs = Path(row.config.outputs)
    rundir, _heard = runs.rundir(outputs / "sweep", outputs=outputs, key="7" * 64)
    dataset = row.made[StageName.data]
    assert isinstance(dataset, Dataset)
    grid = {"train.learning_rate": ["0.00001", "0.01"]}
    swept = azure.sweep(row.config, dataset, grid=grid, rundir=rundir)
    assert swept.job == f"phi-sweep-{'7' * 20}"
    assert [(trial.status, trial.overrides) for trial in swept.trials] == [
        ("Completed", ("train.learning_rate=0.00001",)), ("Completed", ("train.learning_rate=0.01",)),
    ]  # fmt: skip
    assert swept.best == swept.trials[1].job
    (put,) = cloud.puts(f"/jobs/{swept.job}$")
    job = put["request"]["properties"]
    assert (job["jobType"], job["samplingAlgorithm"]["samplingAlgorithmType"]) == ("Sweep", "Grid")
    assert (job["objective"]["primaryMetric"], job["objective"]["goal"].lower()) == ("loss_after", "minimize")
    assert (job["limits"]["maxTotalTrials"], job["limits"]["maxConcurrentTrials"]) == (2, 2)


@pytest.mark.slow
def test_an_adapter_on_a_folder_of_this_machine_is_trained_and_measured_there(
    row: Row, cloud: Cloud, tiny_model: Path
) -> None:
    config = replace(row.config, model=LocalModel(path=str(tiny_model)), train=runs.lora(epochs=1))
    adapted = Row(cloud=cloud, config=replace(config, azure=replace(config.azure, fetch_result=True)))
    adapted.perform(data.STAGE)
    trained = adapted.perform(train.STAGE, number=5)
    assert (trained.adapter, trained.base, trained.in_cloud) == (True, str(tiny_model), False)
    settings = json.loads((trained.model_folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tiny_model)
    card = adapted.perform(evaluate.STAGE, number=5)
    assert card.rows > 0
    (put,) = cloud.puts(f"/jobs/{trained.job}$")
    assert put["request"]["properties"]["inputs"]["base_model"]["jobInputType"] == "uri_folder"


def test_every_request_fits_the_independent_contract_and_stays_in_the_emulator(row: Row, cloud: Cloud) -> None:
    checked = []
    for call in cloud.rig.wire():
        kind = contract.kind_of(str(call.get("method")), str(call.get("path")))
        body = call.get("request")
        if kind and isinstance(body, dict) and body.get("properties", {}).get("jobType") != "FineTuning":
            assert contract.faults(kind, body) == []
            checked.append(kind)
    assert {"JobBase", "EnvironmentVersion", "ModelVersion", "CodeVersion", "ComputeResource"} <= set(checked)
    assert cloud.rig.refused() == []
