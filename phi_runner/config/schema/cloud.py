"""Azure: which account and workspace a run uses, what it may cost, and how it is rehearsed without any."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from omegaconf import II


class Credential(StrEnum):
    """How the run signs in."""

    cli = "cli"
    default = "default"
    device_code = "device_code"
    managed_identity = "managed_identity"


class AzureCloud(StrEnum):
    """Which of Azure's clouds; `custom` takes its addresses from `azure.cloud_endpoints`."""

    public = "public"
    china = "china"
    government = "government"
    custom = "custom"


@dataclass(kw_only=True, slots=True)
class AzureConfig:
    """The account, the workspace and its parts; nothing here is a secret."""

    kind: ClassVar[str] = ""
    subscription: str = II("oc.env:AZURE_SUBSCRIPTION_ID,''")
    """Subscription id; `az account show --query id` prints it."""
    tenant: str = II("oc.env:AZURE_TENANT_ID,''")
    """Directory to sign in to; empty: the one that the credential belongs to."""
    resource_group: str = "finetunephi-rg"
    """Made when it is missing."""
    workspace: str = "finetunephi-workspace"
    """Made when it is missing, with the four services below."""
    region: str = "eastus2"
    """Where everything is made (the tutorials')."""
    identity: str = "finetunephi-identity"
    """User-assigned identity that the endpoint runs as."""
    storage_account: str = ""
    """Name for a new workspace's storage account; empty: derived from subscription, group and workspace."""
    key_vault: str = ""
    """The same for its key vault."""
    app_insights: str = ""
    """The same for its application insights."""
    container_registry: str = ""
    """The same for its container registry, whose cheapest tier bills about 5 USD a month."""
    hub: str = "finetunephi-hub"
    """Foundry hub that `flow=foundry` makes."""
    project: str = "finetunephi-project"
    """Foundry project that holds the flow's connection."""
    credential: Credential = Credential.cli
    """`cli` is what `az login` leaves; `default` tries environment, identity and tools in the SDK's own order."""
    cloud: AzureCloud = AzureCloud.public
    """Azure's name for the network of data centres that the subscription belongs to."""
    cloud_endpoints: dict[str, str] = field(default_factory=dict)
    """Addresses of a custom cloud: azure_portal, resource_manager, active_directory, aml_resource_id,
    storage_endpoint and registry_discovery_endpoint."""
    request_quota: bool = False
    """Ask Azure for the cores that are missing instead of only saying so."""
    max_usd_per_hour: float = 10.0
    """Refuse a run whose nodes and instances together could bill more than this per hour."""
    prices: dict[str, float] = field(default_factory=dict)
    """What you pay for a size in USD per hour, where it is not the list price: `+azure.prices.Standard_E4s_v3=0.21`."""
    fetch_result: bool = True
    """Bring trained weights back; false leaves them in the workspace."""
    nodes: int = 1
    """Machines that one training job uses."""
    processes_per_node: int = 1
    """Training processes on each machine; one per GPU."""
    sweep: bool = False
    """Turn a multirun into one sweep job of the workspace."""
    wait_s: float = 1800.0
    """Longest wait for one operation of the control plane."""


@dataclass(kw_only=True, slots=True)
class AccountAzure(AzureConfig):
    """A real account."""

    kind: ClassVar[str] = "account"


@dataclass(kw_only=True, slots=True)
class RehearsalAzure(AzureConfig):
    """An emulator on this machine, driven by the real client; costs nothing and needs no account."""

    kind: ClassVar[str] = "rehearsal"
    subscription: str = "00000000-0000-0000-0000-00000000feed"
    """The emulator's only one."""
    tenant: str = "11111111-1111-1111-1111-111111111111"
    """The emulator's only one."""
    credential: Credential = Credential.default
    """The emulator's own, which the run puts into its environment."""
    folder: str = ""
    """Where the emulated cloud keeps its state; empty: beside your other application state, one per outputs folder."""
    blobs: str = "builtin"
    """`builtin` or `azurite`: who stores the blobs."""
    operation_s: float = 0.3
    """How long the emulator lets an operation of the control plane take."""
