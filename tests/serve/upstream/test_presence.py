"""Whether an engine can run here is found out before anything is started."""

import sys
from pathlib import Path

import pytest

from phi_runner.config import cuda
from phi_runner.serve.upstream import presence

NO_VENV = Path("/nowhere/bin/python")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one device, as NVIDIA's library would say."""
    monkeypatch.setattr(cuda, "_found", lambda: 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_machine_without_a_gpu_cannot_run_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(presence, "_AMD", tmp_path / "kfd")
    said = "deploy.engine=vllm needs a GPU and there is none here: type deploy.engine=transformers or onnx"
    assert presence.vllm() == said
    (tmp_path / "kfd").touch()
    assert presence.vllm() != said


@pytest.mark.usefixtures("gpu")
def test_an_interpreter_without_vllm_is_told_how_to_get_one() -> None:
    said = presence.vllm(sys.executable)
    assert said.startswith(f"{sys.executable} has no vllm: type python -m venv vllm-env && ")
    assert said.endswith("then deploy.python=vllm-env/bin/python")


@pytest.mark.usefixtures("gpu")
def test_an_interpreter_that_does_not_run_is_named() -> None:
    assert presence.vllm(str(NO_VENV)).startswith(f"deploy.python={NO_VENV} does not run: ")
    assert presence.vllm("/bin/false").startswith("deploy.python=/bin/false does not run: ")
    assert presence.azureml("/bin/false").startswith("deploy.python=/bin/false does not run: ")


def test_azures_server_is_looked_for_in_the_users_own_environment_only() -> None:
    assert presence.azureml("") == ""
    assert "has no azureml_inference_server_http: type " in presence.azureml(sys.executable)
