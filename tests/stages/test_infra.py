"""Stage infra: skipped where nothing needs Azure; otherwise it makes the workspace and notices when it is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Workspace
from phi_runner.azureml import names
from phi_runner.config.schema import RunConfig
from phi_runner.stages import infra
from phi_runner.stages.stage import Inputs, RunDir
from tests.azureml.accounts import account, cluster, config_of, entered
from tests.azureml.rig import Rig, running
from tests.config import configs
from tests.deploy.rig import Heard


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator for this module, with the environment pointing at it."""
    with running(tmp_path_factory.mktemp("cloud")) as rig, entered(rig):
        yield rig


def run(config: RunConfig, folder: Path) -> Workspace:
    (folder / "infra").mkdir()
    rundir = RunDir(folder=folder / "infra", outputs=folder, key="k", events=Heard().events)
    made = infra.STAGE.run(config, Inputs({}, {}), rundir)
    assert isinstance(made, Workspace)
    return made


def test_a_run_on_this_machine_skips_it() -> None:
    assert infra.STAGE.skip(configs.config_of("+recipe=full")) == "nothing of this run needs Azure"
    assert infra.STAGE.skip(configs.config_of("+recipe=full compute=azure_cpu")) == ""


def test_the_workspace_is_made_stored_and_checked(rig: Rig, tmp_path: Path) -> None:
    config = config_of(account("stage"), compute=cluster())
    made = run(config, tmp_path)
    artifacts.save(made)
    assert artifacts.load(Workspace, folder=made.folder) == made
    assert (made.name, made.cluster, made.region) == ("stage-ws", "cpu-e16s-v3", "eastus2")
    assert infra.STAGE.still_true(config, made, tmp_path) == ""

    from phi_runner.azureml import client

    azure = client.connect(config.azure)
    azure.arm.delete(azure.ids.cluster("cpu-e16s-v3"), api_version="2024-10-01")
    assert infra.STAGE.still_true(config, made, tmp_path) == "cluster cpu-e16s-v3 is not there any more"
    azure.arm.delete(f"{azure.ids.workspace}?forceToPurge=true", api_version="2024-10-01")
    assert infra.STAGE.still_true(config, made, tmp_path) == "workspace stage-ws is not there any more"


def test_a_stored_workspace_does_not_hide_that_cores_are_missing(rig: Rig, tmp_path: Path) -> None:
    config = config_of(account("cores"))
    made = run(config, tmp_path)
    wants_more = config_of(config.azure, compute=cluster(cluster="gpu", vm_size="Standard_ND96asr_v4"))
    assert infra.STAGE.still_true(wants_more, made, tmp_path) != ""
    assert names.same(made.resource, made.resource.lower())
