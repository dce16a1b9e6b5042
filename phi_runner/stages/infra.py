"""Stage `infra`: the Azure workspace with its services, identity, roles and cluster, found or made."""

from pathlib import Path

from phi_runner.artifacts import Artifact, Workspace
from phi_runner.config import clouds
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.ledger import Ledger
from phi_runner.stages.stage import Inputs, RunDir, Stage


def run(config: RunConfig, _inputs: Inputs, rundir: RunDir) -> Workspace:
    """Find or make what the run needs in Azure; cores are counted before anything is made. Raises RemoteFailed."""
    from phi_runner.azureml import client, infra

    azure = client.connect(config.azure, tell=rundir.events.warn)
    fields = infra.converge(azure, config, events=rundir.events, ledger=Ledger(rundir.outputs))
    return Workspace(folder=rundir.folder, **fields)


def still_true(config: RunConfig, artifact: Artifact, _outputs: Path) -> str:
    """Say what of the stored workspace is not there any more, or nothing."""
    from phi_runner.azureml import client, infra

    if not isinstance(artifact, Workspace):
        return "it is no workspace"
    azure = client.connect(config.azure)
    return infra.what_is_gone(azure, config, registry=artifact.registry, storage=artifact.storage)


def skip(config: RunConfig) -> str:
    """Say that nothing of this run happens in Azure, if so."""
    return "" if clouds.needs_azure(config) else "nothing of this run needs Azure"


STAGE = Stage(
    name=StageName.infra,
    about="find or make the Azure workspace, its identity and its cluster",
    run=run,
    produces=Workspace,
    config_parts=("azure", "compute"),
    code=("stages/infra.py", "azureml/infra.py", "azureml/services.py", "azureml/roles.py", "azureml/clusters.py"),
    libraries=("azure-ai-ml",),
    pure=False,
    still_true=still_true,
    skip=skip,
)
