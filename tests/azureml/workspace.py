"""A workspace in the emulated Azure, ready for jobs: what most tests of the client side begin with."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import environment
from phi_runner.azureml.client import Azure, connect
from phi_runner.config.schema import (
    AzureCompute,
    AzureDeploy,
    Credential,
    FileData,
    FullTrain,
    RehearsalAzure,
    RunConfig,
    StageName,
)
from phi_runner.stages import infra
from phi_runner.stages.stage import Inputs
from tests import runs
from tests.azureml.rig import Rig, running

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest"


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """An emulator with a workspace and a cluster, and the config that means them."""

    rig: Rig
    config: RunConfig

    @property
    def azure(self) -> Azure:
        """The signed-in client."""
        return connect(self.config.azure)

    def puts(self, what: str) -> list[dict[str, Any]]:
        """Return the PUT requests so far whose path matches."""
        calls = (call for call in self.rig.wire() if call.get("method") == "PUT")
        return [call for call in calls if re.search(what, call["path"], re.IGNORECASE)]

    def submitted(self) -> list[str]:
        """Return the names of the jobs that were made, in the order of their making."""
        return [call["path"].rsplit("/", 1)[1] for call in self.puts(r"/jobs/[^/]+$") if call.get("status") == 201]


@contextlib.contextmanager
def ready(folder: Path, **changes: Any) -> Iterator[Cloud]:
    """Run an emulator, make the workspace and its cluster in it, and point this process at it."""
    with running(folder / "cloud") as rig, pytest.MonkeyPatch.context() as patch:
        for name, value in rig.environment.items():
            patch.setenv(name, value)
        # The folder tells the connections of two emulators apart.
        azure = RehearsalAzure(
            subscription="00000000-0000-0000-0000-00000000feed", tenant="11111111-1111-1111-1111-111111111111",
            credential=Credential.default, folder=str(folder),
        )  # fmt: skip
        config = runs.config(
            StageName.infra, StageName.data, StageName.train, StageName.evaluate, StageName.register,
            outputs=folder / "outputs", data=FileData(train_file=str(runs.facts_file(folder))),
            train=FullTrain(**runs.train_values(epochs=2)), azure=azure,
        )  # fmt: skip
        compute = AzureCompute(cluster="cpu-e16s-v3", vm_size="Standard_E16s_v3", image=IMAGE, max_nodes=2)
        config = replace(config, compute=compute, deploy=AzureDeploy(), **changes)
        environment.prepare(config)
        rundir, _heard = runs.rundir(folder / "infra", outputs=folder / "outputs", stage="infra")
        infra.STAGE.run(config, Inputs({}, {}), rundir)
        yield Cloud(rig=rig, config=config)
