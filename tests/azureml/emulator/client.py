"""The real azure-ai-ml, signed in to an emulator's workspace that has a cluster and an environment."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from phi_runner.azureml.emulator.settings import SUBSCRIPTION
from tests.azureml.arm_client import Arm
from tests.azureml.rig import Rig

GROUP = "jobs-and-endpoints"
ENVIRONMENT = "tests-environment:1"


def connect(rig: Rig) -> Any:
    """Return a client; the process's environment must already be the rig's."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    return MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, "ws", show_progress=False)


@contextlib.contextmanager
def environment(rig: Rig) -> Iterator[None]:
    """Let this process talk to an emulator."""
    with pytest.MonkeyPatch.context() as patch:
        pace = {"AZUREML_RUN_POLLING_INTERVAL_MIN": "1", "AZUREML_RUN_POLLING_INTERVAL_MAX": "1"}
        for name, value in (rig.environment | pace).items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def workspace(rig: Rig) -> Iterator[Any]:
    """Yield a client whose workspace is there."""
    with environment(rig), Arm(group=GROUP) as arm:
        arm.put(arm.group, {"location": "eastus2"}, version="2022-09-01")
        arm.put(f"{arm.ml}/workspaces/ws", {"location": "eastus2", "properties": {}})
        scale = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"}
        cluster = {"vmSize": "Standard_E4s_v3", "scaleSettings": scale}
        arm.put(
            f"{arm.ml}/workspaces/ws/computes/cpu",
            {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": cluster}},
        )
        path = f"{arm.ml}/workspaces/ws/environments/{ENVIRONMENT.replace(':', '/versions/')}"
        arm.put(path, {"properties": {"image": "an-image", "condaFile": "{}"}})
        yield connect(rig)
