"""Infrastructure against the emulator, with the real clients: made once, found again, mended, never replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.azureml import infra, names
from phi_runner.config.schema import AzureDeploy
from phi_runner.errors import RemoteFailed
from phi_runner.ledger import Made, Step
from tests.azureml.accounts import Site, account, cluster, config_of, entered, site
from tests.azureml.rig import Rig, running


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
    yield site(rig, tmp_path, account(name))
    rig.admin("/clear", {})


def test_everything_is_made_written_down_first_and_then_only_read(here: Site) -> None:
    config = config_of(here.azure.config, compute=cluster(), deploy=AzureDeploy())
    made = here.converge(config)
    ids = here.azure.ids
    assert names.same(made["resource"], ids.workspace)
    assert names.same(made["storage"], ids.storage)
    assert (made["identity"], made["cluster"]) == (ids.identity, "cpu-e16s-v3")
    assert made["identity_client_id"]
    assert made["studio_url"].startswith("https://ml.azure.com/?wsid=/subscriptions/")
    entries = {entry.kind: entry for entry in here.ledger.open()}
    assert set(entries) == {
        Made.resource_group, Made.registry, Made.storage, Made.key_vault, Made.app_insights, Made.log_analytics,
        Made.workspace, Made.identity, Made.role_assignment, Made.cluster,
    }  # fmt: skip
    assert all(entry.step is Step.made and entry.scope == "rehearsal" for entry in entries.values())
    assert entries[Made.cluster].usd_per_hour == pytest.approx(1.008)
    before = len(here.rig.wire())
    assert here.converge(config) == made
    assert {method for method, _path in here.calls(since=before)} == {"GET"}


def test_the_identity_gets_the_tutorials_three_roles(here: Site) -> None:
    made = here.converge(config_of(here.azure.config))
    roles = {}
    for scope in (here.azure.ids.resource_group, made["storage"], made["registry"]):
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        for found in here.azure.arm.listed(path, api_version="2022-04-01"):
            if found["properties"]["scope"].lower() == scope.lower():
                assert found["properties"]["principalId"] == made["identity_principal_id"]
                assert found["properties"]["principalType"] == "ServicePrincipal"
                roles[scope] = found["properties"]["roleDefinitionId"].rsplit("/", 1)[-1]
    assert list(roles.values()) == [names.CONTRIBUTOR, names.STORAGE_BLOB_DATA_READER, names.ACR_PULL]


def test_a_role_that_somebody_gave_already_stays_and_is_not_ours(here: Site) -> None:
    config = config_of(here.azure.config)
    made = here.converge(config)
    arm, ids = here.azure.arm, here.azure.ids
    ours = ids.assignment(scope=ids.resource_group, role=names.CONTRIBUTOR, principal=made["identity_principal_id"])
    body = arm.get(ours, api_version="2022-04-01")
    assert body is not None
    arm.delete(ours, api_version="2022-04-01")
    here.ledger.removed(ours)
    wanted = {name: body["properties"][name] for name in ("roleDefinitionId", "principalId", "principalType")}
    other = f"{ours[:-36]}99999999-9999-9999-9999-999999999999"
    arm.put(other, {"properties": wanted}, api_version="2022-04-01")
    here.converge(config)
    assert not here.ledger.holds(ours)
    assert not arm.exists(ours, api_version="2022-04-01")


def test_the_cluster_is_the_tutorials_and_its_scale_follows_the_config(here: Site) -> None:
    here.converge(config_of(here.azure.config, compute=cluster()))

    def settings() -> dict[str, object]:
        found = here.azure.arm.get(here.azure.ids.cluster("cpu-e16s-v3"), api_version="2024-10-01")
        assert found is not None
        inner: dict[str, object] = found["properties"]["properties"]
        return inner

    assert settings()["scaleSettings"] == {
        "minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"
    }  # fmt: skip
    assert (settings()["vmSize"], settings()["vmPriority"]) == ("Standard_E16s_v3", "Dedicated")
    here.converge(config_of(here.azure.config, compute=cluster(max_nodes=2, idle_s=300)))
    assert settings()["scaleSettings"] == {
        "minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT5M"
    }  # fmt: skip
    with pytest.raises(
        RemoteFailed, match=r"has Standard_E16s_v3 nodes, not Standard_DS3_v2.*compute\.cluster=ANOTHER"
    ):
        here.converge(config_of(here.azure.config, compute=cluster(vm_size="Standard_DS3_v2")))
    with pytest.raises(RemoteFailed, match=r"dedicated nodes and cannot be changed: type compute\.cluster=ANOTHER"):
        here.converge(config_of(here.azure.config, compute=cluster(low_priority=True)))


def test_what_was_there_before_is_used_and_not_written_down(here: Site, tmp_path: Path) -> None:
    config = config_of(here.azure.config, compute=cluster())
    here.converge(config)
    guest = site(here.rig, tmp_path / "guest", account(here.azure.config.workspace.removesuffix("-ws")))
    (tmp_path / "guest").mkdir()
    guest.converge(config)
    assert guest.ledger.open() == []


def test_missing_cores_are_named_before_anything_is_made(here: Site) -> None:
    config = config_of(here.azure.config, compute=cluster(vm_size="Standard_ND96asr_v4"))
    with pytest.raises(RemoteFailed) as caught:
        here.converge(config)
    assert str(caught.value) == (
        "not enough cores in eastus2: Standard NDASv4_A100 Family Cluster Dedicated vCPUs: 0 of 0 cores are free and "
        "96 are needed for cluster cpu-e16s-v3 (1 x Standard_ND96asr_v4): ask with azure.request_quota=true, or with "
        "`az quota update --resource-name standardNDASv4_A100Family --scope /subscriptions/"
        "00000000-0000-0000-0000-00000000feed/providers/Microsoft.MachineLearningServices/locations/eastus2 "
        "--limit-object value=96 --resource-type dedicated`, or in the studio under Quota; nothing was made"
    )
    assert here.ledger.open() == []
    assert {method for method, _path in here.calls()} == {"GET"}


def test_cluster_and_endpoint_of_one_family_are_counted_together_with_the_reserve(here: Site) -> None:
    a100 = "Standard_NC24ads_A100_v4"
    config = config_of(here.azure.config, compute=cluster(vm_size=a100), deploy=AzureDeploy(instance_type=a100))
    with pytest.raises(
        RemoteFailed, match=r"24 of 24 cores are free and 53 are needed for cluster .* and the endpoint"
    ):
        here.converge(config)


def test_a_quota_is_asked_for_when_told_to(here: Site) -> None:
    here.azure.config.request_quota = True
    here.converge(config_of(here.azure.config, compute=cluster(vm_size="Standard_NC4as_T4_v3", max_nodes=4)))
    assert (
        "asks Azure for 16 cores of Standard NCASv3_T4 Family Cluster Dedicated vCPUs (there are 8)" in here.heard.text
    )
    usages = here.azure.arm.listed(f"{here.azure.ids.location}/usages", api_version="2024-10-01")
    assert {usage["limit"] for usage in usages if "T4" in usage["name"]["value"]} == {16}


def test_a_size_that_the_region_lacks_is_refused_with_the_nearest(here: Site) -> None:
    config = config_of(here.azure.config, compute=cluster(vm_size="Standard_E32s_v3"))
    with pytest.raises(
        RemoteFailed, match=r"compute\.vm_size=Standard_E32s_v3: the region eastus2 does not offer .*E16s"
    ):
        here.converge(config)


def test_an_unknown_subscription_is_refused_at_once(rig: Rig, tmp_path: Path) -> None:
    other = site(rig, tmp_path, account("other", subscription="00000000-0000-0000-0000-000000000bad"))
    with pytest.raises(RemoteFailed, match=r"no such subscription: `az account list"):
        other.converge(config_of(other.azure.config))


def test_a_workspace_in_another_region_is_refused(here: Site, rig: Rig, tmp_path: Path) -> None:
    here.converge(config_of(here.azure.config))
    name = here.azure.config.workspace.removesuffix("-ws")
    moved = site(rig, tmp_path, account(name, region="westus"))
    with pytest.raises(RemoteFailed, match=r"is in eastus2, not in westus: type azure\.region=eastus2"):
        moved.converge(config_of(moved.azure.config))


@pytest.mark.parametrize(("part", "seen_before"), [("workspace", 0), ("registry", 0), ("cluster", 1)])
def test_half_made_things_are_made_again(here: Site, part: str, seen_before: int) -> None:
    config, ids = config_of(here.azure.config, compute=cluster()), here.azure.ids
    here.converge(config)
    resource = ids.cluster("cpu-e16s-v3") if part == "cluster" else str(getattr(ids, part))
    version = "2023-07-01" if part == "registry" else "2024-10-01"
    found = here.azure.arm.get(resource, api_version=version)
    assert found is not None
    found["properties"]["provisioningState"] = "Failed"
    here.rig.admin(
        "/faults", {"match": f"{resource}$", "method": "GET", "status": 200, "body": found, "after": seen_before}
    )
    before = len(here.rig.wire())
    here.converge(config)
    assert "again: it was left half-made" in here.heard.text
    assert ("PUT", resource.lower()) in {(method, path.lower()) for method, path in here.calls(since=before)}
    assert infra.what_is_gone(here.azure, config, registry=ids.registry, storage=ids.storage) == ""


def test_a_lost_registry_is_made_again_and_a_lost_storage_account_is_told(here: Site) -> None:
    config, ids, arm = config_of(here.azure.config), here.azure.ids, here.azure.arm
    here.converge(config)
    arm.delete(ids.registry, api_version="2023-07-01")
    assert "registry" in infra.what_is_gone(here.azure, config, registry=ids.registry, storage=ids.storage)
    here.converge(config)
    arm.delete(ids.storage, api_version="2023-05-01")
    with pytest.raises(RemoteFailed, match=r"has lost its storage account phirunner\w+: bring that back"):
        here.converge(config)


@pytest.mark.parametrize(("status", "times"), [(429, 2), (503, 1), (500, 1)])
def test_a_busy_azure_is_asked_again(here: Site, status: int, times: int) -> None:
    here.rig.admin(
        "/faults",
        {"match": "userAssignedIdentities", "method": "PUT", "times": times, "status": status,
         "headers": {"Retry-After": "0"}},
    )  # fmt: skip
    here.converge(config_of(here.azure.config))


def test_an_operation_that_azure_loses_does_not_lose_the_resource(here: Site) -> None:
    here.converge(config_of(here.azure.config))
    here.rig.admin("/faults", {"match": "OperationsStatus", "times": 1, "status": 404, "code": "NotFound"})
    found = here.azure.arm.put(
        here.azure.ids.cluster("lost"),
        {
            "location": "eastus2",
            "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_E4s_v3"}},
        },
        api_version="2024-10-01",
    )
    assert found["properties"]["provisioningState"] == "Succeeded"


def test_a_refused_role_names_the_role_to_ask_for(here: Site) -> None:
    action = "Microsoft.Authorization/roleAssignments/write"
    message = f"The client 'x' does not have authorization to perform action '{action}' over scope '/s' or so."
    here.rig.admin(
        "/faults",
        {"match": "roleAssignments", "method": "PUT", "times": -1, "status": 403, "code": "AuthorizationFailed",
         "message": message},
    )  # fmt: skip
    with pytest.raises(
        RemoteFailed, match=r"role Contributor on .*: this account may not assign roles .*ask for the role"
    ):
        here.converge(config_of(here.azure.config))
    here.rig.admin("/clear", {})
    here.converge(config_of(here.azure.config))
