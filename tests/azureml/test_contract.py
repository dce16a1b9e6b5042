"""The independent contract can say no: a check that cannot fail would prove nothing about the wire."""

import pytest

from tests.azureml.contract import faults, kind_of

_WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
_JOB = {"jobType": "Command", "command": "python -m phi_runner.remote", "environmentId": "/e", "isArchived": False}


def test_a_sound_job_passes() -> None:
    assert faults("JobBase", {"properties": _JOB}) == []


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({**_JOB, "environmentId": None}, "environment_id is required"),
        ({**_JOB, "command": ""}, "command does not match"),
        ({**_JOB, "comand": "typo"}, "properties.comand is not known"),
        ({**_JOB, "inputs": {"a": {"jobInputType": "literal"}}}, "value is required"),
    ],
)
def test_a_broken_job_does_not(properties: dict[str, object], told: str) -> None:
    assert any(told in fault for fault in faults("JobBase", {"properties": properties}))


def test_paths_are_told_apart() -> None:
    assert kind_of("PUT", f"{_WORKSPACE}/onlineEndpoints/e") == "OnlineEndpoint"
    assert kind_of("PUT", f"{_WORKSPACE}/onlineEndpoints/e/deployments/d") == "OnlineDeployment"
    assert kind_of("GET", f"{_WORKSPACE}/onlineEndpoints/e") == ""
