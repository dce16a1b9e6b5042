"""What stage `flow` asks of an Azure AI Foundry project: its connection to the endpoint, and a home for the flow."""

from pathlib import Path

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import FoundryFlow, RunConfig, StageName
from phi_runner.events import Events, StageEvents
from phi_runner.flow.connection import Connection
from phi_runner.ledger import Ledger
from phi_runner.stages import endpoints
from phi_runner.stages.stage import RunDir


def connect(config: RunConfig, settings: FoundryFlow, endpoint: Endpoint, rundir: RunDir, *, key: str) -> Connection:
    """Make hub, project and connection, and return the connection as the project holds it."""
    from phi_runner.azureml import client
    from phi_runner.azureml.foundry import Foundry, Keys

    foundry = Foundry(azure=client.connect(config.azure), ledger=Ledger(rundir.outputs), events=rundir.events)
    foundry.converge(settings)
    held = foundry.connect(settings.connection, Keys(endpoint=endpoint.score_url, key=key))
    return Connection(name=settings.connection, endpoint=held.endpoint, key=held.key)


def upload(config: RunConfig, settings: FoundryFlow, folder: Path, rundir: RunDir) -> None:
    """Put the flow folder into the project as a data asset, and say how to open it."""
    from phi_runner.azureml import client
    from phi_runner.azureml.foundry import Foundry

    foundry = Foundry(azure=client.connect(config.azure), ledger=Ledger(rundir.outputs), events=rundir.events)
    version = foundry.upload(folder, name=settings.name)
    rundir.events.info(
        f"the flow is data asset {settings.name}:{version} of project {config.azure.project}; to open it in the portal "
        f"choose Prompt flow > Create > Upload from local there, and {folder}"
    )


def difference(config: RunConfig, settings: FoundryFlow, asked: Endpoint, outputs: Path) -> str:
    """Say what is wrong with the project's connection, or nothing: an endpoint that was made again has another key."""
    from phi_runner.azureml import client
    from phi_runner.azureml.foundry import Foundry, Keys

    silent = StageEvents(Events(), StageName.flow)
    held = Foundry(azure=client.connect(config.azure), ledger=Ledger(outputs), events=silent).read(settings.connection)
    if held is None:
        return f"connection {settings.connection} of project {config.azure.project} is gone"
    online = endpoints.online(config, name=asked.resource.rsplit("/", 1)[-1], outputs=outputs)
    now = Keys(endpoint=asked.score_url, key=online.key())
    return "" if held == now else f"connection {settings.connection} does not hold the endpoint's key"
