"""kill -9 between any two cloud calls of infra and of teardown: the same command again ends well."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phi_runner.azureml import removal
from phi_runner.config.schema import RehearsalAzure
from phi_runner.ledger import Ledger
from tests.azureml.accounts import Site, account, cluster, config_of, entered, site
from tests.azureml.rig import Rig, running

_MOST_CALLS = 200


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An emulator for one test, with the environment pointing at it."""
    with running(tmp_path / "cloud", operation_s=0.01) as rig, entered(rig):
        yield rig
        assert rig.refused() == []


def make(here: Site) -> None:
    here.converge(config_of(here.azure.config, compute=cluster()))


def remove(here: Site) -> None:
    assert removal.remove_all(here.azure, ledger=here.ledger, events=here.heard.events) == []


def killed_at(rig: Rig, number: int, work: Callable[[Site], None], azure: RehearsalAzure, outputs: Path) -> bool:
    """Do some work in a child that is killed while it waits for its call of that number; say whether it came so far.

    The child is forked: the client's import, which takes seconds, is done once for all of them.
    """
    rig.admin("/faults", {"match": azure.resource_group, "after": number, "delay_s": 20.0, "times": 1, "status": 0})
    child = os.fork()
    if not child:
        try:
            work(site(rig, outputs, azure))
        finally:
            os._exit(0)
    while not rig.admin("/faults")["value"][0]["injected"]:
        if os.waitpid(child, os.WNOHANG)[0]:
            rig.admin("/clear", {})
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    rig.admin("/clear", {})
    return True


def in_cloud(rig: Rig, azure: RehearsalAzure) -> set[str]:
    """Return what can be removed of a group: not the records and stores that Azure keeps inside."""
    paths: list[str] = rig.admin("/state")["resources"]
    mine = [path for path in paths if f"/{azure.resource_group.lower()}" in path]
    return {path for path in mine if "/datastores/" not in path and "/microsoft.resources/deployments/" not in path}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_call_the_same_command_goes_on(rig: Rig, tmp_path: Path) -> None:
    import azure.ai.ml.entities

    killed = {"infra": 0, "teardown": 0}
    for number in range(_MOST_CALLS):
        azure, outputs = account(f"kill{number}"), tmp_path / f"outputs{number}"
        outputs.mkdir()
        infra_killed = killed_at(rig, number, make, azure, outputs)
        known = {entry.resource.lower() for entry in Ledger(outputs).open()}
        assert in_cloud(rig, azure) <= known, f"killed at call {number}: not in the ledger"
        here = site(rig, outputs, azure)
        make(here)
        assert in_cloud(rig, azure) == {entry.resource.lower() for entry in Ledger(outputs).open()}
        teardown_killed = killed_at(rig, number, remove, azure, outputs)
        remove(here)
        assert in_cloud(rig, azure) == set()
        assert Ledger(outputs).open() == []
        killed["infra"] += infra_killed
        killed["teardown"] += teardown_killed
        if not infra_killed and not teardown_killed:
            break
    print(f"killed {killed}")
    assert min(killed.values()) > 20
