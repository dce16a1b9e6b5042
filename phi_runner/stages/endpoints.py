"""What stages after `deploy` ask of an endpoint wherever it is: its key, and whether it still has the traffic."""

from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.artifacts import Endpoint
from phi_runner.config import clouds
from phi_runner.config.schema import AzureDeploy, RunConfig, StageName
from phi_runner.errors import DeployFailed
from phi_runner.events import Events, StageEvents
from phi_runner.flow.connection import read_key
from phi_runner.ledger import Ledger

if TYPE_CHECKING:
    from phi_runner.azureml.endpoints import Online


def online(config: RunConfig, *, name: str, outputs: Path, events: StageEvents | None = None) -> "Online":
    """Return the endpoint of the workspace; without a name the one that is derived from the workspace's."""
    from phi_runner.azureml.client import connect
    from phi_runner.azureml.endpoints import Online

    azure = connect(config.azure)
    silent = StageEvents(Events(), StageName.deploy)
    return Online(
        azure=azure, name=name or azure.ids.endpoint_name(AzureDeploy()), ledger=Ledger(outputs),
        events=events or silent,
    )  # fmt: skip


def not_ours(config: RunConfig, resource: str) -> str:
    """Say why this run cannot talk to an endpoint in Azure, or nothing."""
    if not clouds.needs_azure(config):
        return "it asks an endpoint in Azure, and this run has neither deploy=azure nor flow=foundry"
    start = f"/subscriptions/{config.azure.subscription}/resourcegroups/{config.azure.resource_group}/".lower()
    middle = f"/workspaces/{config.azure.workspace}/".lower()
    ours = resource.lower().startswith(start) and middle in resource.lower()
    return "" if ours else "it is an endpoint of another workspace"


def key_file_of(endpoint: Endpoint) -> Path:
    """Return where the key of an endpoint on this machine is; an absolute path stays what it is."""
    return endpoint.folder / endpoint.key_file


def endpoint_key(config: RunConfig, endpoint: Endpoint, *, outputs: Path, events: StageEvents) -> str:
    """Return the endpoint's key, from its file or from Azure; no log shows it from now on."""
    if endpoint.resource:
        problem = not_ours(config, endpoint.resource)
        if problem:
            raise DeployFailed(f"endpoint {endpoint.name}: {problem}; type deploy=azure and the azure.* of its run")
        return online(config, name=endpoint.name, outputs=outputs, events=events).key()
    key = read_key(key_file_of(endpoint))
    events.hide(key)
    return key


def has_traffic(config: RunConfig, *, resource: str, deployment: str, outputs: Path) -> bool:
    """Say whether a deployment of an endpoint in Azure still has all of its traffic."""
    if not_ours(config, resource):
        return False
    from phi_runner.azureml.endpoints import traffic_of

    found = online(config, name=resource.rsplit("/", 1)[-1], outputs=outputs).found()
    return traffic_of(found) == {deployment: 100}
