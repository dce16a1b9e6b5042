"""Azure AI Foundry: a hub and a project, the custom connection that the portal knows, and the flow folder beside it.

Everything is found or made; a connection is written only when the endpoint or its key has changed.
"""

import hashlib
import io
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from phi_runner.azureml import versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.names import same, short
from phi_runner.azureml.wording import in_our_words
from phi_runner.config.schema import FoundryFlow
from phi_runner.errors import FlowFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

Body = dict[str, Any]
_CONNECTIONS = "2024-04-01-preview"
_SERVICES = "2023-05-01"
_CUSTOM = "CustomKeys"
_METADATA = {"azureml.flow.connection_type": "Custom", "azureml.flow.module": "promptflow.connections"}
"""What makes Prompt flow and the portal take the connection for a custom one."""
_AI_SERVICES = "ai-services"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the connection holds."""

    endpoint: str
    """Score URL."""
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundry:
    """The hub and the project that a config names. Everything raises FlowFailed with what Azure says in our words."""

    azure: Azure
    ledger: Ledger
    events: StageEvents

    def converge(self, flow: FoundryFlow) -> None:
        """Find or make the hub, beside the workspace and with its services, and the project in it."""
        hub = self.azure.ids.hub
        if self._found(hub, kind="hub", key="azure.hub") is None:
            self._make_hub(hub)
        project = self.azure.ids.project
        found = self._found(project, kind="project", key="azure.project")
        if found is None:
            self._make_project(project, hub=hub)
        elif not same(str(found["properties"].get("hubResourceId") or ""), hub):
            raise FlowFailed(
                f"project {short(project)} belongs to another hub than {short(hub)}: type azure.project=ANOTHER, or "
                f"azure.hub={short(str(found['properties'].get('hubResourceId') or ''))}"
            )
        if flow.ai_services:
            self._connect_ai_services(flow.ai_services)

    def _found(self, resource: str, *, kind: str, key: str) -> Body | None:
        """Return a hub or project that is there and whole; raises FlowFailed when the name is another thing's."""
        name = short(resource)
        with in_our_words(f"{kind} {name}", kind=FlowFailed):
            found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
        if found is None:
            return None
        actual = str(found.get("kind") or "default").lower()
        if actual != kind:
            raise FlowFailed(f"{key}={name} is a {actual} workspace and no {kind}: type {key}=ANOTHER")
        if str(found["properties"].get("provisioningState") or "").lower() == "failed":
            self.events.warn(f"{kind} {name} was left half-made by Azure: it is made again")
            return None
        self.ledger.made(resource)
        return found

    def _make_hub(self, resource: str) -> None:
        from azure.ai.ml.entities import Hub

        with in_our_words(f"workspace {self.azure.config.workspace}", kind=FlowFailed):
            beside = self.azure.arm.get(self.azure.ids.workspace, api_version=versions.MACHINE_LEARNING)
        if beside is None:
            raise FlowFailed(f"workspace {self.azure.config.workspace} is not there: add infra to the stages")
        services = beside["properties"]
        hub = Hub(
            name=short(resource), location=self.azure.config.region, storage_account=services.get("storageAccount"),
            key_vault=services.get("keyVault"), container_registry=services.get("containerRegistry"),
            application_insights=services.get("applicationInsights"),
        )  # fmt: skip
        self._create(Made.hub, resource, hub)

    def _make_project(self, resource: str, *, hub: str) -> None:
        from azure.ai.ml.entities import Project

        class PlainProject(Project):  # type: ignore[misc, unused-ignore]
            """A project whose values are plain text.

            azure-ai-ml 1.35.2 copies an enum from the hub and sends its name, `PublicNetworkAccessType.ENABLED`, which
            its own template does not allow.
            """

            def __setattr__(self, name: str, value: Any) -> None:
                super().__setattr__(name, value.value if isinstance(value, Enum) else value)

        wanted = PlainProject(name=short(resource), hub_id=hub, location=self.azure.config.region)
        self._create(Made.project, resource, wanted)

    def _create(self, kind: Made, resource: str, wanted: Any) -> None:
        self.events.info(f"makes {kind} {short(resource)}")
        config = self.azure.config
        with (
            self.ledger.making(kind, resource, region=config.region, scope=self.azure.scope),
            in_our_words(f"{kind} {short(resource)}", kind=FlowFailed),
        ):
            self.azure.ml.workspaces.begin_create(wanted).result(timeout=config.wait_s)

    def _connect_ai_services(self, account: str) -> None:
        """Show an existing AI Services account to the hub and its projects; they sign in to it, no key is kept."""
        path = self.azure.ids.connection(self.azure.config.hub, _AI_SERVICES)
        with in_our_words(f"AI services account {short(account)}", kind=FlowFailed):
            found = self.azure.arm.get(account, api_version=_SERVICES)
            if found is None:
                raise FlowFailed(f"flow.ai_services={account}: there is no such account")
            there = self.azure.arm.get(path, api_version=_CONNECTIONS)
            metadata: Body = (there or {}).get("properties", {}).get("metadata") or {}
            if same(str(metadata.get("ResourceId") or ""), account):
                return
            body = {
                "category": "AIServices", "authType": "AAD", "isSharedToAll": True,
                "target": found["properties"].get("endpoint") or account,
                "metadata": {"ApiType": "Azure", "ResourceId": account},
            }  # fmt: skip
            self._put(path, body)

    def connect(self, name: str, keys: Keys) -> Keys:
        """Bring the project's connection to hold these keys, and return what can be read from it then."""
        there = self.read(name)
        if there == keys:
            self.events.info(f"connection {name} of project {self.azure.config.project} holds the endpoint already")
            return keys
        path = self.azure.ids.connection(self.azure.config.project, name)
        body = {
            "category": _CUSTOM, "authType": _CUSTOM, "target": "_", "isSharedToAll": True, "metadata": _METADATA,
            "credentials": {"keys": {"endpoint": keys.endpoint, "key": keys.key}},
        }  # fmt: skip
        with in_our_words(f"connection {name}", kind=FlowFailed):
            self._put(path, body)
        self.events.info(f"{'changed' if there else 'made'} connection {name} of project {self.azure.config.project}")
        read = self.read(name)
        if read is None:
            raise FlowFailed(f"connection {name} is gone right after its making: the same command makes it again")
        return read

    def _put(self, path: str, properties: Body) -> None:
        config = self.azure.config
        with self.ledger.making(Made.connection, path, region=config.region, scope=self.azure.scope):
            self.azure.arm.put(path, {"properties": properties}, api_version=_CONNECTIONS)

    def read(self, name: str) -> Keys | None:
        """Return what the project's connection holds, None when it is not there; it must be a custom one."""
        path = self.azure.ids.connection(self.azure.config.project, name)
        with in_our_words(f"connection {name}", kind=FlowFailed):
            there = self.azure.arm.get(path, api_version=_CONNECTIONS)
            if there is None:
                return None
            if there["properties"].get("category") != _CUSTOM:
                raise FlowFailed(f"connection {name} is there and no custom one: type flow.connection=ANOTHER")
            secrets = self.azure.arm.post(f"{path}/listsecrets", {}, api_version=_CONNECTIONS)
        held: Body = ((secrets["properties"].get("credentials") or {}).get("keys")) or {}
        self.events.hide(str(held.get("key") or ""))
        return Keys(endpoint=str(held.get("endpoint") or ""), key=str(held.get("key") or ""))

    def upload(self, folder: Path, *, name: str) -> str:
        """Put the flow folder into the project as a data asset, once for each content, and return its version."""
        from azure.ai.ml.entities import Data

        version = _content_version(folder)
        path = f"{self.azure.ids.project}/data/{name}/versions/{version}"
        with in_our_words(f"uploading flow {name}", kind=FlowFailed), redirect_stderr(io.StringIO()):
            if not self.azure.arm.exists(path, api_version=versions.MACHINE_LEARNING):
                asset = Data(name=name, version=version, path=str(folder), type="uri_folder", description="a chat flow")
                self.azure.ml_for(self.azure.config.project).data.create_or_update(asset)
        return version


def _content_version(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
