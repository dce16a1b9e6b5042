"""Removal against the emulator: all that runs have made goes, in order; what was there before stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.azureml import names, removal
from phi_runner.azureml.removal import Left
from phi_runner.ledger import Made
from tests.azureml.accounts import Site, account, cluster, config_of, entered, site
from tests.azureml.rig import Rig, running

ML = "2024-10-01"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator for this module, with the environment pointing at it."""
    with running(tmp_path_factory.mktemp("cloud")) as rig, entered(rig):
        yield rig
        assert rig.refused() == []


@pytest.fixture
def here(rig: Rig, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site whose workspace no other test uses."""
    name = "".join(letter for letter in request.node.name if letter.isalnum())[5:20]
    yield site(rig, tmp_path, account(name, wait_s=10.0))
    rig.admin("/clear", {})


def remove(here: Site) -> list[Left]:
    return removal.remove_all(here.azure, ledger=here.ledger, events=here.heard.events)


def left_in(here: Site) -> list[str]:
    """Return what the cloud still holds of the site's resource group."""
    paths: list[str] = here.rig.admin("/state")["resources"]
    return [path for path in paths if f"/{here.azure.config.resource_group.lower()}" in path]


def endpoint(here: Site, name: str, *, planned: bool = True) -> str:
    """Make an endpoint with two deployments as a run would."""
    path = here.azure.ids.endpoint(name)
    body = {"location": "eastus2", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key"}}
    if planned:
        here.ledger.plan("endpoint", path, scope="rehearsal")
    here.azure.arm.put(path, body, api_version=ML)
    return path


def test_everything_goes_and_a_second_time_nothing_is_left_to_do(here: Site) -> None:
    here.converge(config_of(here.azure.config, compute=cluster()))
    endpoint(here, f"{here.azure.config.workspace}-e")
    assert remove(here) == []
    assert here.ledger.open() == []
    assert left_in(here) == []
    lines = [line.split(" ")[1] for line in here.heard.lines if line.startswith("removed")]
    assert lines.index("endpoint") < lines.index("cluster") < lines.index("workspace") < lines.index("resource")
    assert remove(here) == []


def test_what_was_planned_but_never_made_is_forgotten(here: Site) -> None:
    here.ledger.plan("cluster", here.azure.ids.cluster("never"), usd_per_hour=9.0, scope="rehearsal")
    assert remove(here) == []
    assert here.ledger.open() == []
    assert "cluster never is gone already" in here.heard.text


def test_what_was_there_before_stays(here: Site, tmp_path: Path) -> None:
    here.converge(config_of(here.azure.config))
    guest = site(here.rig, tmp_path / "guest", here.azure.config)
    (tmp_path / "guest").mkdir()
    guest.converge(config_of(here.azure.config, compute=cluster()))
    assert [entry.kind for entry in guest.ledger.open()] == [Made.cluster]
    assert remove(guest) == []
    assert not here.azure.arm.exists(here.azure.ids.cluster("cpu-e16s-v3"), api_version=ML)
    assert here.azure.arm.exists(here.azure.ids.workspace, api_version=ML)


def test_a_workspace_in_which_another_serves_is_left_and_so_is_its_group(here: Site) -> None:
    here.converge(config_of(here.azure.config))
    name = f"{here.azure.config.workspace}-x"
    theirs = endpoint(here, name, planned=False)
    left = remove(here)
    assert [item.entry.kind for item in left] == [Made.workspace, Made.resource_group]
    assert f"the workspace still holds {name}, which no run of this outputs folder has made" in left[0].why
    assert here.azure.arm.exists(theirs, api_version=ML)
    here.azure.arm.delete(theirs, api_version=ML)
    assert remove(here) == []
    assert left_in(here) == []


def test_a_group_that_holds_somebody_elses_things_is_left(here: Site) -> None:
    here.converge(config_of(here.azure.config))
    stranger = f"{here.azure.ids.resource_group}/providers/Microsoft.Storage/storageAccounts/photos"
    here.azure.arm.put(stranger, {"location": "eastus2"}, api_version="2023-05-01")
    (left,) = remove(here)
    assert left.entry.kind is Made.resource_group
    assert "the group holds photos, which no run has made" in left.why
    assert here.azure.arm.exists(stranger, api_version="2023-05-01")


def test_one_refusal_does_not_keep_the_rest(here: Site) -> None:
    here.converge(config_of(here.azure.config, compute=cluster()))
    here.rig.admin(
        "/faults", {"match": "computes/cpu", "method": "DELETE", "times": -1, "status": 403, "message": "Locked."}
    )
    left = remove(here)
    assert left[0].entry.kind is Made.cluster
    assert left[0].why.startswith(
        "removing cluster cpu-e16s-v3: this account may not do that (Locked.): ask for the role Contributor on the "
        "resource group"
    )
    assert {item.entry.kind for item in left} == {Made.cluster, Made.workspace, Made.resource_group}
    here.rig.admin("/clear", {})
    assert remove(here) == []
    assert left_in(here) == []


def test_what_does_not_go_away_is_said_after_the_wait(here: Site, rig: Rig, tmp_path: Path) -> None:
    short = site(rig, tmp_path, account(here.azure.config.workspace.removesuffix("-ws"), wait_s=0.5))
    short.converge(config_of(short.azure.config))
    found = short.azure.arm.get(short.azure.ids.identity, api_version="2024-11-30")
    identity = short.azure.ids.identity
    rig.admin("/faults", {"match": f"{identity}$", "method": "GET", "times": -1, "status": 200, "body": found})
    left = remove(short)
    assert f"identity {names.short(identity)} is still there after azure.wait_s=0.5 s" in left[0].why


def test_a_deployment_of_ours_on_anothers_endpoint_loses_its_traffic_first(here: Site) -> None:
    here.converge(config_of(here.azure.config))
    name = f"{here.azure.config.workspace}-t"
    theirs = endpoint(here, name, planned=False)
    ours = here.azure.ids.deployment(name, "green")
    here.ledger.plan("deployment", ours, scope="rehearsal")
    before = len(here.rig.wire())
    found = here.azure.arm.get(theirs, api_version=ML)
    assert found is not None
    found["properties"]["traffic"] = {"green": 10, "blue": 90}
    here.rig.admin("/faults", {"match": f"{name}$", "method": "GET", "status": 200, "body": found})
    here.rig.admin(
        "/faults", {"match": "deployments/green$", "method": "GET", "status": 200, "body": {"name": "green"}}
    )
    here.rig.admin("/faults", {"match": f"{name}$", "method": "PUT", "status": 200, "body": found})
    remove(here)
    put = next(call for call in here.rig.wire()[before:] if call["method"] == "PUT")
    assert put["request"]["properties"]["traffic"] == {"blue": 90}


def test_a_running_job_is_cancelled_and_waited_for(here: Site) -> None:
    job = here.azure.ids.job("phi-train-1")
    here.ledger.plan("job", job, scope="rehearsal")
    for status, times in (("Running", 2), ("Canceled", 1)):
        body = {"properties": {"status": status}}
        here.rig.admin("/faults", {"match": f"{job}$", "method": "GET", "times": times, "status": 200, "body": body})
    here.rig.admin("/faults", {"match": f"{job}/cancel$", "method": "POST", "status": 200, "body": {}})
    before = len(here.rig.wire())
    assert remove(here) == []
    assert "cancelled job phi-train-1" in here.heard.text
    assert [method for method, _path in here.calls(since=before)] == ["GET", "POST", "GET", "GET"]
    assert here.ledger.open() == []


def test_a_removed_key_vault_gives_its_name_back(here: Site) -> None:
    vault = here.azure.ids.key_vault
    here.ledger.plan("key_vault", vault, region="eastus2", scope="rehearsal")
    deleted = f"Microsoft.KeyVault/locations/eastus2/deletedVaults/{names.short(vault)}"
    here.rig.admin("/faults", {"match": f"{deleted}$", "method": "GET", "status": 200, "body": {"name": "deleted"}})
    here.rig.admin("/faults", {"match": f"{deleted}/purge$", "method": "POST", "status": 200, "body": {}})
    before = len(here.rig.wire())
    assert remove(here) == []
    assert [call["method"] for call in here.rig.wire()[before:] if "deletedVaults" in call["path"]] == ["GET", "POST"]


def test_other_clouds_entries_are_not_touched(here: Site) -> None:
    here.ledger.plan("cluster", here.azure.ids.cluster("real"), usd_per_hour=1.0, scope="public")
    assert remove(here) == []
    assert here.ledger.holds(here.azure.ids.cluster("real"))


def test_broken_off_anywhere_the_next_teardown_ends_well(here: Site) -> None:
    """Let every call after the first, second, ... fail in turn: each round goes on where the one before ended."""
    here.converge(config_of(here.azure.config, compute=cluster()))
    rounds, done = 0, False
    while not done:
        rounds += 1
        here.rig.admin(
            "/faults", {"match": here.azure.config.resource_group, "after": rounds, "times": -1, "status": 409}
        )
        done = not remove(here)
        here.rig.admin("/clear", {})
    assert rounds > 3
    assert here.ledger.open() == []
    assert left_in(here) == []
