"""The workspace's model registry: a version per result of ours, found again by the result's key before one is made."""

import io
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.artifacts import TrainedModel
from phi_runner.azureml import jobs
from phi_runner.azureml.environment import AZURE_SERVING
from phi_runner.azureml.wording import in_our_words
from phi_runner.errors import MissingInput, RegisterFailed
from phi_runner.task import REQUIREMENTS_FILE

if TYPE_CHECKING:
    from phi_runner.azureml.client import Azure

_API = "2023-08-01-preview"
_KEY_TAG = "phi_runner.register_key"
_TRIES = 3
_TRY_PAUSE_S = 2.0


def find(azure: "Azure", *, name: str, key: str) -> str:
    """Return the version that was registered from the result `key`, or nothing."""
    with in_our_words(f"looking for model {name}", kind=RegisterFailed):
        found = azure.arm.listed(f"{azure.ids.workspace}/models/{name}/versions", api_version=_API)
    ours = [item for item in found if (item["properties"].get("tags") or {}).get(_KEY_TAG) == key]
    return str(ours[0]["name"]) if ours else ""


def has(azure: "Azure", *, asset: str) -> bool:
    """Say whether the workspace still has a model version."""
    with in_our_words("looking for the registered model", kind=RegisterFailed):
        return azure.arm.exists(asset, api_version=_API)


def in_job(azure: "Azure", trained: TrainedModel) -> str:
    """Return the address of the model among the outputs of the job that trained it; empty when it is to be uploaded."""
    if not trained.job:
        return ""
    if jobs.state(azure, trained.job) is not None:
        return f"azureml://jobs/{trained.job}/outputs/{trained.job_output}"
    if trained.in_cloud:
        raise MissingInput(
            f"{azure.config.workspace} has no job {trained.job}, and only it holds the weights: type the workspace "
            "that it ran in (azure.workspace=NAME), or train again with force=[train]"
        )
    return ""


def check_serving(trained: TrainedModel, *, place: str) -> None:
    """Raise RegisterFailed when Azure's no-code image could not start with this model; unknown is not refused."""
    for file in (Path(place) / "requirements.txt", trained.folder / REQUIREMENTS_FILE):
        if file.is_file():
            missing = [name for name in AZURE_SERVING if name not in file.read_text(encoding="utf-8")]
            if missing:
                raise RegisterFailed(
                    f"the model's requirements lack {', '.join(missing)}, without which Azure's no-code image does not "
                    "start: train again with force=[train]"
                )
            return


def register(azure: "Azure", *, name: str, place: str, tags: dict[str, str]) -> str:
    """Make a version of the model at `place`, a job's output or a local folder, and return its number."""
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    with in_our_words(f"registering {name}", kind=RegisterFailed), redirect_stderr(io.StringIO()):
        for trial in range(1, _TRIES + 1):
            try:
                # a Model keeps the version that a failed call has given it
                model = Model(name=name, path=place, type="mlflow_model", tags=tags, description="made by phi_runner")
                return str(azure.ml.models.create_or_update(model).version)
            except (HttpResponseError, ServiceRequestError, ServiceResponseError) as err:
                made = find(azure, name=name, key=tags[_KEY_TAG])  # the answer may have been lost on its way
                if made:
                    return made
                if trial == _TRIES or not jobs.passing(err):
                    raise
                time.sleep(_TRY_PAUSE_S)
    raise AssertionError("unreachable")
