"""The signed-in connection to Azure: credentials, clouds, and the clients of workspaces and registries.

Importing this module imports no azure; `connect` does, which takes seconds.
"""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.azureml.arm import Arm, open_arm
from phi_runner.azureml.names import Ids
from phi_runner.azureml.wording import in_our_words
from phi_runner.config.schema import AzureConfig, Credential, RehearsalAzure
from phi_runner.config.schema.cloud import AzureCloud
from phi_runner.errors import RemoteFailed

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

CLOUD_KEYS = (
    "azure_portal",
    "resource_manager",
    "active_directory",
    "aml_resource_id",
    "storage_endpoint",
    "registry_discovery_endpoint",
)
"""Every address that a custom cloud must name: with one missing azure-ai-ml would quietly ask the public cloud."""
_CLOUD_NAMES = {
    AzureCloud.public: "AzureCloud",
    AzureCloud.china: "AzureChinaCloud",
    AzureCloud.government: "AzureUSGovernment",
    AzureCloud.custom: "phi_runner_custom",
}
_MANAGERS = {
    AzureCloud.public: ("https://management.azure.com", "https://login.microsoftonline.com"),
    AzureCloud.china: ("https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
    AzureCloud.government: ("https://management.usgovcloudapi.net", "https://login.microsoftonline.us"),
}
"""Resource manager and directory of each cloud."""
_STUDIOS = {
    AzureCloud.public: "https://ml.azure.com",
    AzureCloud.china: "https://studio.ml.azure.cn",
    AzureCloud.government: "https://ml.azure.us",
}
_CLI_TIMEOUT_S = 60
_REHEARSAL_SLEEP_S = 0.1
_connections: dict[str, "Azure"] = {}


@dataclass(frozen=True, kw_only=True)
class Azure:
    """One account, resource group and workspace, with the clients that talk to them."""

    config: AzureConfig
    ids: Ids
    arm: Arm
    credential: "TokenCredential"
    _clients: dict[tuple[str, str], "MLClient"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ml(self) -> "MLClient":
        """The client of the workspace; the workspace need not exist yet."""
        return self.ml_for(self.config.workspace)

    def ml_for(self, workspace: str) -> "MLClient":
        """Return the client of another workspace, hub or project of the resource group."""
        names = {"subscription_id": self.config.subscription, "resource_group_name": self.config.resource_group}
        return self._client(("workspace", workspace), workspace_name=workspace, **names)

    def registry(self, name: str) -> "MLClient":
        """Return the client of a registry, such as the model catalog's `azureml`; asks for its region at once."""
        with in_our_words(f"opening registry {name}"):
            return self._client(("registry", name), registry_name=name)

    def _client(self, key: tuple[str, str], **names: str) -> "MLClient":
        if key not in self._clients:
            from azure.ai.ml import MLClient

            _hush()
            cloud: dict[str, Any] = {"cloud": _CLOUD_NAMES[self.config.cloud]}
            if self.config.cloud is AzureCloud.custom:
                cloud["cloud_metadata"] = dict(self.config.cloud_endpoints)
            client = MLClient(self.credential, **names, **cloud, enable_telemetry=False, show_progress=False)
            self._clients[key] = client
        return self._clients[key]

    @cached_property
    def studio(self) -> str:
        """Address of the cloud's Machine Learning studio, without a slash at its end."""
        if self.config.cloud is AzureCloud.custom:
            return self.config.cloud_endpoints["aml_resource_id"].rstrip("/")
        return _STUDIOS[self.config.cloud]

    @property
    def token_scope(self) -> str:
        """Scope of the tokens that the control plane and run history take."""
        return f"{_addresses(self.config)[0]}/.default"

    @property
    def scope(self) -> str:
        """The ledger's word for this cloud."""
        return scope_of(self.config)


def scope_of(config: AzureConfig) -> str:
    """Return the ledger's word for the config's cloud: its name, and which one it is where there may be several."""
    if isinstance(config, RehearsalAzure):
        return f"rehearsal:{Path(config.folder).expanduser().resolve()}" if config.folder else "rehearsal"
    if config.cloud is AzureCloud.custom:
        return f"custom:{config.cloud_endpoints.get('resource_manager', '')}"
    return str(config.cloud)


def connect(config: AzureConfig, *, tell: Callable[[str], None] | None = None) -> Azure:
    """Return the connection for a config, the same one for the same config; the first request signs in.

    `tell` shows the device code to the person. Raises RemoteFailed when the config cannot name an account.
    """
    # A token of one emulated Azure is no good to the next one that this process meets.
    key = "|".join([repr(config), *(os.environ.get(name, "") for name in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"))])
    if key not in _connections:
        _check(config)
        _quiet(config)
        with in_our_words("signing in"):
            credential = _credential(config, tell=tell or _to_the_person)
        manager, _directory = _addresses(config)
        arm = open_arm(manager, credential=credential, scopes=[f"{manager}/.default"], wait_s=config.wait_s)
        _connections[key] = Azure(config=config, ids=Ids(config), arm=arm, credential=credential)
    return _connections[key]


def _check(config: AzureConfig) -> None:
    if not config.subscription:
        raise RemoteFailed(
            "no subscription is named: export AZURE_SUBSCRIPTION_ID=$(az account show --query id -o tsv), or type "
            "azure.subscription=ID"
        )
    if config.cloud is AzureCloud.custom:
        missing = [key for key in CLOUD_KEYS if not config.cloud_endpoints.get(key)]
        if missing:
            first = missing[0]
            raise RemoteFailed(
                f"azure.cloud=custom lacks {', '.join(missing)}: type +azure.cloud_endpoints.{first}=ADDRESS"
            )


def _addresses(config: AzureConfig) -> tuple[str, str]:
    """Return the resource manager and the directory, without slashes at their ends."""
    if config.cloud is AzureCloud.custom:
        named = config.cloud_endpoints
        return named["resource_manager"].rstrip("/"), named["active_directory"].rstrip("/")
    return _MANAGERS[config.cloud]


def _credential(config: AzureConfig, *, tell: Callable[[str], None]) -> "TokenCredential":
    from azure import identity

    _manager, authority = _addresses(config)
    tenant = {"tenant_id": config.tenant} if config.tenant else {}
    match config.credential:
        case Credential.cli:
            return identity.AzureCliCredential(**tenant, process_timeout=_CLI_TIMEOUT_S)
        case Credential.default:
            return identity.DefaultAzureCredential(authority=authority, process_timeout=_CLI_TIMEOUT_S)
        case Credential.device_code:

            def prompt(address: str, code: str, _expires: datetime) -> None:
                tell(f"sign in: open {address} and enter {code}")

            return identity.DeviceCodeCredential(authority=authority, prompt_callback=prompt, **tenant)
        case Credential.managed_identity:
            client = os.environ.get("AZURE_CLIENT_ID")
            return identity.ManagedIdentityCredential(**({"client_id": client} if client else {}))


def _to_the_person(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _hush() -> None:
    """Send what azure-ai-ml says into the log alone: some of its modules write to the terminal by themselves."""
    from azure.ai.ml._utils import _azureml_polling

    vars(_azureml_polling)["print"] = lambda *_values, **_options: None  # a dot for every question about an operation
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("azure.ai.ml"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.ERROR)


def _quiet(config: AzureConfig) -> None:
    """Keep the client's progress bars, experimental notes and telemetry out of the terminal."""
    for name in ("azure", "azure.identity", "azure.ai.ml", "azure.core", "msal", "msrest", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("AZURE_CORE_COLLECT_TELEMETRY", "no")
    os.environ.setdefault("AZURE_EXTENSION_USE_DYNAMIC_INSTALL", "no")  # az must not stop to ask
    # azure-ai-ml reads these at its import; 0 would ask without a pause.
    os.environ.setdefault("AZUREML_RUN_POLLING_INTERVAL_MIN", "1" if isinstance(config, RehearsalAzure) else "2")
    os.environ.setdefault("AZUREML_RUN_POLLING_INTERVAL_MAX", "2" if isinstance(config, RehearsalAzure) else "30")
    if isinstance(config, RehearsalAzure):
        with in_our_words("loading azure-ai-ml"):
            from azure.ai.ml.constants._common import LROConfigurations

        # The making of a workspace sleeps this long between its questions whatever the answers wish.
        LROConfigurations.SLEEP_TIME = _REHEARSAL_SLEEP_S
