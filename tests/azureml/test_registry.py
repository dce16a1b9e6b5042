"""What is checked of a model before it is registered for Azure to serve."""

from pathlib import Path

import pytest

from phi_runner.artifacts import TrainedModel
from phi_runner.azureml.environment import model_requirements
from phi_runner.azureml.registry import check_serving
from phi_runner.errors import RegisterFailed
from phi_runner.task import REQUIREMENTS_FILE

_PLACE = "azureml://jobs/phi-train-1/outputs/model_output"


def _trained(folder: Path) -> TrainedModel:
    return TrainedModel(
        folder=folder, base="base", revision="", trust_remote_code=False, adapter=False, max_length=8, parameters=1,
        steps=1, loss_first=1.0, loss_last=1.0, template_hash="", data_hash="", tracking_run="", job="phi-train-1",
        job_output="model_output", in_cloud=True,
    )  # fmt: skip


def test_a_model_that_azures_image_could_not_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / REQUIREMENTS_FILE).write_text("mlflow==3.17.2\nazureml-inference-server-http\n")
    with pytest.raises(RegisterFailed, match=r"lack azureml-ai-monitoring, .*force=\[train\]"):
        check_serving(_trained(tmp_path), place=_PLACE)


def test_a_complete_model_passes_and_an_unknown_one_is_not_refused(tmp_path: Path) -> None:
    check_serving(_trained(tmp_path), place=_PLACE)
    (tmp_path / REQUIREMENTS_FILE).write_text("\n".join(model_requirements()))
    check_serving(_trained(tmp_path), place=_PLACE)
