"""Configs and connections of emulated accounts, one workspace per test so that tests share an emulator in peace."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phi_runner.azureml import client, infra
from phi_runner.azureml.client import Azure
from phi_runner.config.schema import (
    AzureCompute,
    AzureConfig,
    AzureDeploy,
    CpuCompute,
    Credential,
    NoDeploy,
    RehearsalAzure,
    RunConfig,
    StageName,
)
from phi_runner.ledger import Ledger
from tests.azureml.rig import Rig
from tests.deploy.rig import Heard

SUBSCRIPTION = "00000000-0000-0000-0000-00000000feed"
TENANT = "11111111-1111-1111-1111-111111111111"


def account(name: str, **more: Any) -> RehearsalAzure:
    """Return the config of a workspace of a test's own."""
    given: dict[str, Any] = {
        "subscription": SUBSCRIPTION, "tenant": TENANT, "credential": Credential.default,
        "resource_group": f"{name}-rg", "workspace": f"{name}-ws", "identity": f"{name}-id", "wait_s": 30.0,
    }  # fmt: skip
    return RehearsalAzure(**given | more)


def cluster(**more: Any) -> AzureCompute:
    """Return a cluster of one 16-core node."""
    return AzureCompute(**{"cluster": "cpu-e16s-v3", "vm_size": "Standard_E16s_v3", "image": "image", **more})


def config_of(
    azure: AzureConfig, *, compute: AzureCompute | None = None, deploy: AzureDeploy | None = None
) -> RunConfig:
    """Return a run that trains on the cluster and deploys, as far as they are given."""
    stages = [StageName.infra, *([StageName.train] if compute else []), *([StageName.deploy] if deploy else [])]
    return RunConfig(azure=azure, compute=compute or CpuCompute(), deploy=deploy or NoDeploy(), stages=stages)


@dataclass(frozen=True, kw_only=True)
class Site:
    """An outputs folder, and what is said while it works with a workspace."""

    azure: Azure
    ledger: Ledger
    rig: Rig
    heard: Heard = field(default_factory=Heard)

    def converge(self, config: RunConfig) -> infra.Fields:
        """Find or make what a run needs."""
        return infra.converge(self.azure, config, events=self.heard.events, ledger=self.ledger)

    def calls(self, *, since: int = 0) -> list[tuple[str, str]]:
        """Return method and path of this workspace's calls."""
        group = self.azure.config.resource_group.lower()
        found = [(call["method"], call["path"]) for call in self.rig.wire()[since:]]
        return [(method, path) for method, path in found if f"/{group}/" in f"{path.lower()}/"]


def site(rig: Rig, outputs: Path, azure: AzureConfig) -> Site:
    """Connect an outputs folder to its workspace; the environment points at the emulator already."""
    return Site(azure=client.connect(azure), ledger=Ledger(outputs), rig=rig)


@contextmanager
def entered(rig: Rig) -> Iterator[Rig]:
    """Point this process's environment at an emulator during a block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rig.environment.items():
            patch.setenv(name, value)
        yield rig
