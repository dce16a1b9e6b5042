"""Stage deploy: what it hands on, when it is skipped or done again, and that it leaves nothing behind."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner import processes
from phi_runner.artifacts import Dataset, Endpoint, Registered
from phi_runner.config.schema import (
    ComputeConfig,
    CpuCompute,
    DeployConfig,
    GpuCompute,
    LocalDeploy,
    NoDeploy,
    RunConfig,
    StageName,
)
from phi_runner.errors import ConfigProblem
from phi_runner.stages import deploy
from phi_runner.stages.stage import Inputs, RunDir
from phi_runner.template import template_hash
from tests.deploy.rig import Heard, stop_all

RUNNER = """
import json, sys, time
from dataclasses import asdict, replace
from pathlib import Path
from tests.stages.test_deploy import config, registered, run_dir
from phi_runner.config.schema import LocalDeploy, StageName
from phi_runner.stages import deploy
from phi_runner.stages.stage import Inputs
model, outputs = Path(sys.argv[1]), Path(sys.argv[2])
inputs = Inputs({StageName.register: registered(model, outputs)}, {})
chosen = config(LocalDeploy(start_timeout_s=90))
made = deploy.STAGE.run(chosen, inputs, run_dir(outputs))
later = [made, replace(made, model="phi/4"), replace(made, template_hash="0"), replace(made, url="http://127.0.0.1:1")]
print(json.dumps({
    "made": asdict(made),
    "changed": [deploy.STAGE.still_true(chosen, artifact, outputs) for artifact in later],
    "heavy": sorted({"torch", "transformers", "fastapi", "uvicorn", "datasets", "mlflow"} & set(sys.modules)),
}, default=str), flush=True)
time.sleep(60)
"""


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Path]:
    """An outputs folder whose endpoints end with the test."""
    yield tmp_path / "outputs"
    stop_all(tmp_path / "outputs")


def config(chosen: DeployConfig, *, compute: ComputeConfig | None = None) -> RunConfig:
    """Return a run's config as far as the stage reads it."""
    return RunConfig(deploy=chosen, compute=compute or CpuCompute())


def registered(model: Path, outputs: Path, *, version: str = "3") -> Registered:
    """Return a registered model whose weights lie in the store."""
    source = outputs / "store" / "train" / "key" / "model"
    if not source.exists():
        source.parent.mkdir(parents=True)
        source.symlink_to(model)
    return Registered(
        folder=outputs / "store" / "register" / "key", name="phi", version=version, alias="champion", tracking_uri="",
        source="train/key/model", template_hash=template_hash(model),
    )  # fmt: skip


def run_dir(outputs: Path) -> RunDir:
    """Return a stage's working folder."""
    folder = outputs / "work"
    folder.mkdir(parents=True, exist_ok=True)
    return RunDir(folder=folder, outputs=outputs, key="k", events=Heard().events)


def test_the_endpoint_of_a_run_answers_and_is_gone_when_the_run_is_killed(tiny_model: Path, outputs: Path) -> None:
    command = [sys.executable, "-c", RUNNER, str(tiny_model), str(outputs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        said = json.loads(runner.stdout.readline())
        made = Endpoint(**{**said["made"], "folder": outputs})
        key = Path(made.key_file).read_text().strip()
        body = {"input_data": ["Who founded Microsoft?"], "params": {"max_new_tokens": 4}}
        answer = httpx.post(made.score_url, json=body, headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        elsewhere = deploy.STAGE.still_true(config(LocalDeploy()), made, outputs)
        server = psutil.Process(made.pid)
        runner.send_signal(signal.SIGKILL)
    server.wait(timeout=15)

    assert answer.status_code == 200
    assert (made.model, made.detached, made.template_hash) == ("phi/3", False, template_hash(tiny_model))
    assert Path(made.key_file).stat().st_mode & 0o777 == 0o600
    assert said["heavy"] == []
    assert said["changed"] == [
        "",
        "it serves phi/3",
        "it serves the model with another chat template",
        "the endpoint's process has ended",
    ]
    assert elsewhere == "it ends with another run"
    assert deploy.STAGE.still_true(config(LocalDeploy()), made, outputs) == "the endpoint's process has ended"
    assert processes.listed(outputs=outputs) == []


def test_no_endpoint_is_a_reason_to_skip() -> None:
    assert deploy.STAGE.skip(config(NoDeploy())) == "deploy=none"
    assert deploy.STAGE.skip(config(LocalDeploy())) == ""


@pytest.mark.parametrize(
    "chosen",
    [config(NoDeploy()), config(DeployConfig()), config(LocalDeploy(), compute=ComputeConfig())],
)
def test_a_kind_that_nobody_handles_ends_loudly(tiny_model: Path, tmp_path: Path, chosen: RunConfig) -> None:
    inputs = Inputs({StageName.register: registered(tiny_model, tmp_path)}, {})
    with pytest.raises(ConfigProblem, match="kind"):
        deploy.STAGE.run(chosen, inputs, run_dir(tmp_path))


def test_the_endpoint_serves_where_the_model_was_trained(tiny_model: Path, tmp_path: Path) -> None:
    chosen = config(LocalDeploy(), compute=GpuCompute(device=1))
    wish = deploy.wanted(LocalDeploy(), chosen, registered(tiny_model, tmp_path), outputs=tmp_path)
    assert wish.device == "cuda:1"


def test_another_artifact_is_no_endpoint(tmp_path: Path) -> None:
    other = Dataset(folder=tmp_path, train_rows=1, test_rows=1, dropped_rows=0, source="", format="", content_hash="")
    assert deploy.STAGE.still_true(config(LocalDeploy()), other, tmp_path) == "it is no endpoint"
