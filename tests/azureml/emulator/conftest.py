"""Emulators and signed-in clients for the tests of this package."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azureml.arm_client import Arm
from tests.azureml.rig import Rig, running


@pytest.fixture(scope="package")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator that the tests of this package share."""
    with running(tmp_path_factory.mktemp("cloud")) as rig:
        yield rig


@pytest.fixture
def signed_in(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The shared emulator, with this process's environment pointing at it."""
    return enter(rig, monkeypatch)


@pytest.fixture
def arm(signed_in: Rig) -> Iterator[Arm]:
    """A plain client of the resource manager, in a resource group that is there."""
    with Arm() as arm:
        arm.put(arm.group, {"location": "eastus2"}, version="2022-09-01")
        yield arm


def enter(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Point this process's environment at an emulator."""
    for name, value in rig.environment.items():
        monkeypatch.setenv(name, value)
    return rig


@pytest.fixture
def cloud_folder(tmp_path: Path) -> Path:
    """A folder for an emulator of a test's own."""
    return tmp_path / "cloud"
