"""The services below a workspace: registry, storage account, key vault, insights; found or made, one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phi_runner.azureml import versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.names import short
from phi_runner.azureml.wording import in_our_words
from phi_runner.config import prices
from phi_runner.errors import RemoteFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Finds things or makes them, and writes into the ledger what it makes before it does."""

    azure: Azure
    ledger: Ledger
    events: StageEvents

    def ensure(
        self, kind: Made, resource: str, *, api_version: str, body: Callable[[], Body], usd_per_hour: float = 0.0
    ) -> Body:
        """Return the resource as it is, made from `body` when it is missing or its making has failed."""
        name, arm = short(resource), self.azure.arm
        with in_our_words(f"{_said(kind)} {name}"):
            found = arm.settled(resource, api_version=api_version)
            if found is not None and not broken(found):
                self.ledger.made(resource)
                return found
            self.events.info(f"makes {_said(kind)} {name}" + (" again: it was left half-made" if found else ""))
            with self.making(kind, resource, usd_per_hour=usd_per_hour, new=found is None):
                made = arm.put(resource, body(), api_version=api_version)
        if broken(made):
            raise RemoteFailed(f"{_said(kind)} {name} was left half-made by Azure: the same command makes it again")
        return made

    def making(self, kind: Made, resource: str, *, usd_per_hour: float = 0.0, new: bool = True) -> Any:
        """Write a thing down around its making; what was there before is not ours and is not written down."""
        config = self.azure.config
        if not new and not self.ledger.holds(resource):
            return _Untold()
        return self.ledger.making(
            kind, resource, usd_per_hour=usd_per_hour, region=config.region, scope=self.azure.scope
        )


class _Untold:
    """Writes nothing down."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exception: object) -> None:
        return None


def broken(found: Body) -> bool:
    """Say whether Azure gave up making a resource."""
    state = str((found.get("properties") or {}).get("provisioningState") or "").lower()
    return state in {"failed", "canceled"}


def _said(kind: Made) -> str:
    return kind.value.replace("_", " ")


def registry(maker: Maker, resource: str) -> None:
    """Find or make the container registry, of the cheapest tier."""
    maker.ensure(
        Made.registry, resource, api_version=versions.REGISTRIES, usd_per_hour=prices.table().container_registry,
        body=lambda: {
            "location": maker.azure.config.region, "sku": {"name": "Basic"}, "properties": {"adminUserEnabled": False}
        },
    )  # fmt: skip


def storage(maker: Maker, resource: str) -> None:
    """Find or make the storage account, closed to the public as azure-ai-ml makes it."""
    maker.ensure(
        Made.storage, resource, api_version=versions.STORAGE,
        body=lambda: {
            "location": maker.azure.config.region, "kind": "StorageV2", "sku": {"name": "Standard_LRS"},
            "properties": {
                "allowBlobPublicAccess": False, "minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": True,
                "isHnsEnabled": False,
            },
        },
    )  # fmt: skip


def key_vault(maker: Maker, resource: str, *, tenant: str) -> None:
    """Find or make the key vault, with access by role."""
    maker.ensure(
        Made.key_vault, resource, api_version=versions.KEY_VAULTS,
        body=lambda: {
            "location": maker.azure.config.region,
            "properties": {
                "tenantId": tenant, "sku": {"name": "standard", "family": "A"}, "accessPolicies": [],
                "enableRbacAuthorization": True,
            },
        },
    )  # fmt: skip


def insights(maker: Maker, resource: str, *, logs: str) -> None:
    """Find or make the application insights, with the log analytics workspace that it writes to."""
    region = maker.azure.config.region
    if not maker.azure.arm.exists(resource, api_version=versions.APP_INSIGHTS):
        maker.ensure(
            Made.log_analytics, logs, api_version=versions.LOG_ANALYTICS,
            body=lambda: {"location": region, "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}},
        )  # fmt: skip
    maker.ensure(
        Made.app_insights, resource, api_version=versions.APP_INSIGHTS,
        body=lambda: {
            "location": region, "kind": "web",
            "properties": {"Application_Type": "web", "WorkspaceResourceId": logs},
        },
    )  # fmt: skip
