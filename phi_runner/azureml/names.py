"""What everything in Azure is called: ARM ids from the config, and legal, unique names for what the config leaves open.

Nothing here talks to Azure. Ids differ in case at Azure's whim: compare them with `same`.
"""

import hashlib
import uuid
from dataclasses import dataclass

from phi_runner.config.schema import AzureConfig, AzureDeploy

_MACHINE_LEARNING = "Microsoft.MachineLearningServices"
_JOB_KEY_LENGTH = 20
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
STORAGE_BLOB_DATA_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def same(one: str, other: str) -> bool:
    """Say whether two ARM ids mean one resource."""
    return one.rstrip("/").lower() == other.rstrip("/").lower()


def short(resource: str) -> str:
    """Return the last part of an ARM id: the resource's own name."""
    return resource.rstrip("/").rsplit("/", 1)[-1]


def job_name(stage: str, key: str, *, retry: int = 0) -> str:
    """Return the name of the job that makes the result `key`; a retry after a failed one gets a name of its own."""
    name = f"phi-{stage}-{key[:_JOB_KEY_LENGTH]}"
    return f"{name}-r{retry}" if retry else name


def assignment_id(*, scope: str, role: str, principal: str) -> str:
    """Return the guid of a role assignment, the same for the same three, so that making it again changes nothing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope.lower()}|{role.lower()}|{principal.lower()}"))


@dataclass(frozen=True, slots=True)
class Ids:
    """The ARM ids that follow from one config."""

    config: AzureConfig

    @property
    def _hash(self) -> str:
        """Twelve hex digits that are this workspace's and nobody else's."""
        parts = (self.config.subscription, self.config.resource_group, self.config.workspace)
        return hashlib.sha256("|".join(parts).lower().encode()).hexdigest()[:12]

    @property
    def subscription(self) -> str:
        """The subscription."""
        return f"/subscriptions/{self.config.subscription}"

    @property
    def resource_group(self) -> str:
        """The resource group."""
        return f"{self.subscription}/resourceGroups/{self.config.resource_group}"

    def _in_group(self, kind: str, name: str) -> str:
        """Return the id of a resource of the group; a name that is an id already stays."""
        return name if name.startswith("/subscriptions/") else f"{self.resource_group}/providers/{kind}/{name}"

    @property
    def location(self) -> str:
        """Machine Learning's own corner of the region: quota, sizes."""
        return f"{self.subscription}/providers/{_MACHINE_LEARNING}/locations/{self.config.region}"

    @property
    def workspace(self) -> str:
        """The workspace."""
        return self.workspace_called(self.config.workspace)

    @property
    def hub(self) -> str:
        """The Foundry hub: a workspace of kind hub."""
        return self.workspace_called(self.config.hub)

    @property
    def project(self) -> str:
        """The Foundry project: a workspace of kind project."""
        return self.workspace_called(self.config.project)

    def workspace_called(self, name: str) -> str:
        """Any workspace, hub or project of the resource group."""
        return self._in_group(f"{_MACHINE_LEARNING}/workspaces", name)

    @property
    def identity(self) -> str:
        """The user-assigned identity that endpoints run as."""
        return self._in_group("Microsoft.ManagedIdentity/userAssignedIdentities", self.config.identity)

    @property
    def storage(self) -> str:
        """The workspace's storage account; 3 to 24 lower-case letters and digits, unique in the world."""
        return self._in_group(
            "Microsoft.Storage/storageAccounts", self.config.storage_account or f"phirunner{self._hash}"
        )

    @property
    def key_vault(self) -> str:
        """The workspace's key vault; 3 to 24 letters, digits and single hyphens, unique in the world."""
        return self._in_group("Microsoft.KeyVault/vaults", self.config.key_vault or f"phi-kv-{self._hash}")

    @property
    def app_insights(self) -> str:
        """The workspace's application insights."""
        return self._in_group("Microsoft.Insights/components", self.config.app_insights or f"phi-insights-{self._hash}")

    @property
    def log_analytics(self) -> str:
        """The log analytics workspace that a new application insights writes to; made with it."""
        return self._in_group("Microsoft.OperationalInsights/workspaces", f"phi-logs-{self._hash}")

    @property
    def registry(self) -> str:
        """The workspace's container registry; 5 to 50 letters and digits, unique in the world."""
        return self._in_group(
            "Microsoft.ContainerRegistry/registries", self.config.container_registry or f"phirunner{self._hash}"
        )

    def cluster(self, name: str) -> str:
        """A compute cluster of the workspace."""
        return f"{self.workspace}/computes/{name}"

    def job(self, name: str) -> str:
        """A job of the workspace."""
        return f"{self.workspace}/jobs/{name}"

    def model(self, name: str, *, version: str) -> str:
        """A version of a registered model."""
        return f"{self.workspace}/models/{name}/versions/{version}"

    def environment(self, name: str, *, version: str) -> str:
        """A version of an environment."""
        return f"{self.workspace}/environments/{name}/versions/{version}"

    def endpoint(self, name: str) -> str:
        """A managed online endpoint."""
        return f"{self.workspace}/onlineEndpoints/{name}"

    def endpoint_name(self, deploy: AzureDeploy) -> str:
        """Return the endpoint's name: as typed, or one that no other subscription's workspace derives."""
        return deploy.name or f"phi-{self._hash}"

    def deployment(self, endpoint: str, name: str) -> str:
        """A deployment below an endpoint."""
        return f"{self.endpoint(endpoint)}/deployments/{name}"

    def connection(self, project: str, name: str) -> str:
        """A connection of a project, hub or workspace."""
        return f"{self.workspace_called(project)}/connections/{name}"

    def role(self, role: str) -> str:
        """The definition of a built-in role, by its guid."""
        return f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"

    def assignment(self, *, scope: str, role: str, principal: str) -> str:
        """An assignment of a role on `scope` to a principal."""
        guid = assignment_id(scope=scope, role=role, principal=principal)
        return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{guid}"

    def quota(self, family: str) -> str:
        """The quota of a family of sizes in the region."""
        return f"{self.location}/providers/Microsoft.Quota/quotas/{family}"
