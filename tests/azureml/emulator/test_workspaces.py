"""Workspaces, clusters, quota, connections and registries, driven by the real azure-ai-ml client."""

from collections.abc import Callable, Iterator

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential

from phi_runner.azureml.emulator.settings import SUBSCRIPTION
from tests.azureml.arm_client import Arm
from tests.azureml.rig import Rig
from tests.azureml.sdk import MLClient, entities

Connect = Callable[..., MLClient]


@pytest.fixture
def connect(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Return clients for workspaces in the tests' resource group."""
    del arm
    monkeypatch.setattr("azure.ai.ml.constants._common.LROConfigurations.SLEEP_TIME", 0.05)
    with DefaultAzureCredential() as credential:
        yield lambda workspace=None: MLClient(credential, SUBSCRIPTION, "tests", workspace)


def test_a_workspace_comes_with_its_services_and_can_be_made_again(connect: Connect, arm: Arm) -> None:
    client = connect("w1")
    with pytest.raises(ResourceNotFoundError, match="w1"):
        client.workspaces.get("w1")
    made = client.workspaces.begin_create(entities.Workspace(name="w1", location="eastus2", tags={"a": "b"})).result()
    assert (made.name, made.location, made.tags["a"]) == ("w1", "eastus2", "b")
    assert made.discovery_url == "https://eastus2.api.azureml.ms/discovery"
    for service in (made.storage_account, made.key_vault, made.application_insights):
        assert arm.get(service)["location"] == "eastus2"
    default = client.datastores.get_default()
    assert (default.name, default.container_name) == ("workspaceblobstore", "azureml-blobstore-1")
    assert made.storage_account.endswith(f"/{default.account_name}")
    again = client.workspaces.begin_create(entities.Workspace(name="w1", location="eastus2")).result()
    assert again.storage_account == made.storage_account
    client.workspaces.begin_delete("w1", delete_dependent_resources=True).result()
    assert arm.send("GET", made.storage_account).status_code == 404
    client.workspaces.begin_create(entities.Workspace(name="w1", location="eastus2")).result()
    assert client.workspaces.get("w1").name == "w1"
    client.workspaces.begin_delete("w1", delete_dependent_resources=False).result()


def test_a_project_shares_its_hubs_storage(connect: Connect) -> None:
    client = connect()
    hub = client.workspaces.begin_create(entities.Hub(name="hub", location="eastus2")).result()
    project = client.workspaces.begin_create(
        entities.Project(name="project", hub_id=hub.id, location="eastus2")
    ).result()
    assert (type(client.workspaces.get("hub")), type(client.workspaces.get("project"))) == (
        entities.Hub,
        entities.Project,
    )
    assert project.storage_account == hub.storage_account
    assert project.hub_id == hub.id
    assert {item.name for item in client.workspaces.list()} >= {"hub", "project"}
    connection = entities.WorkspaceConnection(
        name="shared", type="custom", target="https://x", credentials=entities.ApiKeyConfiguration(key="k1")
    )
    connect("hub").connections.create_or_update(connection)
    assert connect("project").connections.get("shared", populate_secrets=True).credentials.key == "k1"


@pytest.fixture
def workspace(arm: Arm) -> str:
    path = f"{arm.ml}/workspaces/kept"
    arm.put(path, {"location": "eastus2", "kind": "Default", "properties": {}})
    return "kept"


def test_credentials_are_shown_to_who_asks_for_them_only(connect: Connect, arm: Arm, workspace: str) -> None:
    path = f"{arm.ml}/workspaces/{workspace}/connections/phi"
    properties = {
        "category": "CustomKeys", "authType": "CustomKeys", "target": "_",
        "credentials": {"keys": {"endpoint": "https://e/score", "key": "s3"}},
        "metadata": {"azureml.flow.connection_type": "Custom", "azureml.flow.module": "promptflow.connections"},
    }  # fmt: skip
    arm.put(path, {"properties": properties})
    assert "credentials" not in arm.get(path)["properties"]
    listed = arm.get(f"{arm.ml}/workspaces/{workspace}/connections")["value"]
    assert "s3" not in str(listed)
    shown = arm.send("POST", f"{path}/listsecrets").json()["properties"]
    assert shown["credentials"] == properties["credentials"]
    assert shown["metadata"] == properties["metadata"]
    assert connect(workspace).connections.get("phi").name == "phi"
    connect(workspace).connections.delete("phi")
    with pytest.raises(ResourceNotFoundError):
        connect(workspace).connections.get("phi")
    assert arm.problem("PUT", path, {"properties": {}})[0] == 400


def test_datastore_secrets_come_as_the_service_sends_them(rig: Rig, connect: Connect, arm: Arm, workspace: str) -> None:
    store = connect(workspace).datastores.get("workspaceartifactstore", include_secrets=True)
    assert store.credentials.sas_token.startswith("?")
    rig.admin("/mode", {"secrets": "key"})
    try:
        store = connect(workspace).datastores.get("workspaceartifactstore", include_secrets=True)
        assert store.credentials.account_key
    finally:
        rig.admin("/mode", {"secrets": "sas"})
    assert arm.problem("GET", f"{arm.ml}/workspaces/{workspace}/datastores/none")[0] == 404
    with pytest.raises(ResourceNotFoundError):
        connect("no-such-workspace").datastores.get_default()


def test_a_cluster_is_made_within_the_quota_only(rig: Rig, connect: Connect, arm: Arm, workspace: str) -> None:
    client = connect(workspace)
    small = entities.AmlCompute(
        name="cpu", size="Standard_E4s_v3", min_instances=0, max_instances=1, idle_time_before_scale_down=120
    )
    made = client.compute.begin_create_or_update(small).result()
    assert (made.provisioning_state, made.size, made.idle_time_before_scale_down) == ("Succeeded", small.size, 120)
    large = entities.AmlCompute(name="gpu", size="Standard_ND96asr_v4", max_instances=1)
    with pytest.raises(HttpResponseError) as refused:
        client.compute.begin_create_or_update(large).result()
    assert refused.value.status_code == 400
    assert refused.value.error.code == "BadRequest"
    assert refused.value.error.message == (
        "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 requested "
        "managed compute node which maps to 96 vCPUs."
    )
    with pytest.raises(HttpResponseError, match="ClusterCoreQuotaReached"):
        client.compute.begin_create_or_update(
            entities.AmlCompute(name="b", size="STANDARD_NC6S_V3", max_instances=2)
        ).result()
    with pytest.raises(HttpResponseError, match="not supported"):
        client.compute.begin_create_or_update(entities.AmlCompute(name="b", size="Standard_X1")).result()
    location = f"{arm.subscription}/providers/Microsoft.MachineLearningServices/locations/eastus2"
    quota = f"{location}/providers/Microsoft.Quota/quotas/standardNDASv4_A100Family"
    raised = arm.send("PUT", quota, {"properties": {"limit": {"limitObjectType": "LimitValue", "value": 96}}})
    assert raised.status_code in (200, 202)
    assert arm.get(quota)["properties"]["limit"]["value"] == 96
    client.compute.begin_create_or_update(large).result()
    assert {item.name for item in client.compute.list()} == {"cpu", "gpu"}
    client.compute.begin_delete("gpu").result()
    with pytest.raises(ResourceNotFoundError):
        client.compute.get("gpu")


def test_usages_and_sizes_name_families_and_cores(rig: Rig, connect: Connect, workspace: str) -> None:
    client = connect(workspace)
    sizes = {item.name: item for item in client.compute.list_sizes(location="eastus2")}
    assert {"Standard_NC24ads_A100_v4", "Standard_NC6s_v3", "Standard_E16s_v3", "Standard_DS3_v2"} <= set(sizes)
    assert sizes["Standard_NC24ads_A100_v4"].family == "standardNCADSA100v4Family"
    rig.admin("/quota", {"standardESv3Family": 3})
    usages = {item.name["value"]: item for item in client.compute.list_usage(location="eastus2")}
    assert usages["standardNCADSA100v4Family"].limit == 24
    assert usages["standardESv3Family"].limit == 3
    rig.admin("/quota", {"standardESv3Family": 100})


@pytest.mark.filterwarnings("ignore:The `context` parameter is deprecated")  # azure-ai-ml's own use of marshmallow
def test_the_public_registry_has_models_and_components(connect: Connect, arm: Arm) -> None:
    del arm, connect
    with DefaultAzureCredential() as credential:
        registry = MLClient(credential, registry_name="azureml")
        model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
        assert model.id == "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/7"
        component = registry.components.get("chat_completion_pipeline", label="latest")
        assert (component.version, component.type) == ("7", "pipeline")
