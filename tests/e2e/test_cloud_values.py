"""Both tutorials' exact values (SPEC rows 1 to 17 and 22), read from what the emulated Azure was really asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import cli, cloud

pytest.importorskip("azure.ai.ml")
_CLOUD = ("azure=rehearsal", "azure.folder=cloud")
_DATA = ("data=sample", *cloud.SMALL)  # enough rows for a packed step of the tutorial
_ROLES = {
    "Contributor on the resource group": ("b24988ac-6180-42a0-ab88-20f7382dd24c", "/resourcegroups/finetunephi-rg"),
    "Storage Blob Data Reader": ("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "/storageaccounts/[a-z0-9]+"),
    "AcrPull": ("7f951dda-4ed3-4680-a7ca-43fe172d538d", "/registries/[a-z0-9]+"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Perform both tutorials in one emulated Azure, and make the cluster of the code-first one's CPU variant."""
    folder = cloud.folder_with_facts(tmp_path_factory.mktemp("values"))
    tutorial = [item for item in _DATA if not item.startswith("train.")]
    cli.run(
        folder, "+recipe=full", *_CLOUD, *tutorial, "train=tutorial", "compute=azure_gpu", "deploy=azure",
        "deploy.serving=mlflow", "deploy.name=finetune-phi-endpoint", "flow=foundry",
        "stages=[infra,data,train,evaluate,register,deploy,flow]",
        "evaluate.gate=never",  # the tutorial's rate teaches a model with random weights nothing, and the gate says so
    )  # fmt: skip
    cli.run(folder, "+recipe=tutorial_foundry", *_CLOUD, *tutorial, "deploy.name=phi-from-the-catalog")
    cli.run(folder, "+recipe=train_only", *_CLOUD, *tutorial, "compute=azure_cpu", "stages=[infra]")
    return folder


def body(folder: Path, path: str, *, method: str = "PUT") -> dict[str, Any]:
    """Return the body of the first call to a path that was answered well."""
    found = [call.request for call in cloud.asked(folder, method, path) if call.status < 300]
    assert found, f"no {method} of {path}"
    return dict(found[0])


def parameters(folder: Path, name: str) -> dict[str, Any]:
    """Return what the template of a workspace, hub or project was given."""
    given = body(folder, rf"/providers/Microsoft\.Resources/deployments/{name}-[^/]+")["properties"]["parameters"]
    return {key: value["value"] for key, value in given.items()}


def test_row_1_workspace_with_its_services(folder: Path) -> None:
    given = parameters(folder, "finetunephi-workspace")
    assert (given["workspaceName"], given["location"]) == ("finetunephi-workspace", "eastus2")
    for kind in ("Storage/storageAccounts", "KeyVault/vaults", "Insights/components", "ContainerRegistry/registries"):
        [made] = [call for call in cloud.asked(folder, "PUT", rf"/providers/Microsoft\.{kind}/[^/]+")]
        name = made.path.rsplit("/", 1)[1]
        assert name in json.dumps(given), f"the workspace is not made with {made.path}"
    assert body(folder, "/resourcegroups/finetunephi-rg") == {"location": "eastus2"}


def test_row_2_quota_is_read_before_anything_is_made(folder: Path) -> None:
    calls = cloud.wire(folder)
    usages = next(
        number for number, call in enumerate(calls) if call.path.lower().endswith("/locations/eastus2/usages")
    )
    first_made = next(n for n, call in enumerate(calls) if call.method == "PUT" and call.host == "management.azure.com")
    assert usages < first_made


@pytest.mark.parametrize("role", _ROLES)
def test_row_3_the_identity_has_its_roles(folder: Path, role: str) -> None:
    number, scope = _ROLES[role]
    calls = cloud.asked(folder, "PUT", rf"{scope}/providers/Microsoft\.Authorization/roleAssignments/[0-9a-f-]+")
    given = [call.request["properties"] for call in calls]
    assert [item["principalType"] for item in given if item["roleDefinitionId"].endswith(number)] == [
        "ServicePrincipal"
    ]
    identity = r"/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/finetunephi-identity"
    assert body(folder, identity) == {"location": "eastus2"}


def test_row_4_signs_in_before_the_first_question(folder: Path) -> None:
    first = cloud.wire(folder)[0]
    assert (first.method, first.host) in {("GET", "login.microsoftonline.com"), ("POST", "login.microsoftonline.com")}


def test_rows_6_to_10_travel_as_plain_yaml_with_the_job(folder: Path) -> None:
    [job] = [call for call in cloud.asked(folder, "PUT", "/jobs/phi-train-[^/]+") if call.status < 300][:1]
    config = job.request["properties"]["inputs"]["config"]["uri"].rpartition("/paths/")[2]
    staged = next((folder / "outputs/azure").rglob("job.yaml"))
    assert config.endswith("/job.yaml")
    text = staged.read_text(encoding="utf-8")
    for value in (
        "learning_rate: 5.0e-06", "scheduler: cosine", "warmup_ratio: 0.2", "epochs: 3", "batch_size: 4",
        "eval_batch_size: 4", "accumulation_steps: 1", "gradient_checkpointing: always", "packing: true",
        "max_length: 2048", "log_steps: 20", "save_steps: 500", "seed: 0", "eval_fraction: 0.2",
    ):  # fmt: skip
        assert value in text, value


@pytest.mark.parametrize(
    ("cluster", "size"), [("gpu-nc24s-a100-v4", "Standard_NC24ads_A100_v4"), ("cpu-e16s-v3", "Standard_E16s_v3")]
)
def test_row_11_clusters(folder: Path, cluster: str, size: str) -> None:
    made = body(folder, f"/computes/{cluster}")
    inside = made["properties"]["properties"]
    assert (made["location"], inside["vmSize"], inside["vmPriority"]) == ("eastus2", size, "Dedicated")
    scale = inside["scaleSettings"]
    assert (scale["minNodeCount"], scale["maxNodeCount"], scale["nodeIdleTimeBeforeScaleDown"]) == (0, 1, "PT2M")


def test_row_11_environment_and_job(folder: Path) -> None:
    environment = body(folder, "/environments/phi-3-training-environment/versions/[^/]+")["properties"]
    assert environment["image"] == "mcr.microsoft.com/azureml/curated/acft-hf-nlp-gpu:59"
    for library in ("torch==", "trl==", "transformers==", "datasets==", "accelerate==", "mlflow=="):
        assert f"- {library}" in environment["condaFile"]
    job = body(folder, "/jobs/phi-train-[^/]+")["properties"]
    assert job["jobType"] == "Command"
    assert job["computeId"].endswith("/computes/gpu-nc24s-a100-v4")
    assert [job["inputs"][name]["jobInputType"] for name in ("train_file", "eval_file")] == ["uri_file", "uri_file"]
    assert job["outputs"]["model_output"]["jobOutputType"] == "mlflow_model"
    assert "python -m phi_runner.remote" in job["command"]


def test_row_12_catalog_fine_tune(folder: Path) -> None:
    jobs = [call.request["properties"] for call in cloud.asked(folder, "PUT", "/jobs/[^/]+")]
    [details] = [job["fineTuningDetails"] for job in jobs if job["jobType"] == "FineTuning"]
    assert details["taskType"].lower() == "chatcompletion"
    assert details["model"]["uri"].startswith("azureml://registries/azureml/models/Phi-3-mini-4k-instruct/")
    assert {"trainingData", "validationData"} <= details.keys()
    assert {"learning_rate", "lr_scheduler_type"} <= details["hyperParameters"].keys()
    assert all(isinstance(value, str) for value in details["hyperParameters"].values())


def test_row_13_registered_from_the_job(folder: Path) -> None:
    made = body(folder, "/models/finetune-phi-model/versions/[^/]+")["properties"]
    job = cloud.asked(folder, "PUT", "/jobs/phi-train-[^/]+")[0].path.rsplit("/", 1)[1]
    assert (made["modelType"], made["modelUri"]) == ("mlflow_model", f"azureml://jobs/{job}/outputs/model_output")


def test_row_14_endpoint(folder: Path) -> None:
    made = body(folder, "/onlineEndpoints/finetune-phi-endpoint")
    assert (made["location"], made["properties"]["authMode"]) == ("eastus2", "Key")
    assert made["identity"]["type"] == "UserAssigned"
    [identity] = made["identity"]["userAssignedIdentities"]
    assert identity.endswith(
        "/resourceGroups/finetunephi-rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/finetunephi-identity"
    )
    hosts = {call.host for call in cloud.wire(folder) if call.path == "/score"}
    names = ("finetune-phi-endpoint", "phi-from-the-catalog")
    assert hosts == {f"{name}.eastus2.inference.ml.azure.com" for name in names}


def test_row_15_deployment(folder: Path) -> None:
    made = body(folder, "/onlineEndpoints/finetune-phi-endpoint/deployments/blue")
    inside = made["properties"]
    assert made["sku"]["capacity"] == 1
    assert inside["instanceType"] == "Standard_E4s_v3"
    assert {"SUBSCRIPTION_ID", "RESOURCE_GROUP_NAME", "UAI_CLIENT_ID"} <= inside["environmentVariables"].keys()
    assert inside["requestSettings"] == {
        "maxConcurrentRequestsPerInstance": 3, "requestTimeout": "PT3M", "maxQueueWait": "PT2M",
    }  # fmt: skip
    for probe in ("livenessProbe", "readinessProbe"):
        given = inside[probe]
        assert (given["failureThreshold"], given["successThreshold"]) == (30, 1)
        assert (given["period"], given["initialDelay"]) == ("PT1M40S", "PT8M20S")
    assert "codeConfiguration" not in inside, "the no-code image takes no code"


def test_row_16_all_traffic_after_the_proof(folder: Path) -> None:
    given = [call.request["properties"]["traffic"] for call in cloud.asked(folder, "PUT", "/onlineEndpoints/[^/]+")]
    assert (given[0], given[-1]) == ({}, {"blue": 100})


def test_row_22_hub_project_and_connection(folder: Path) -> None:
    hub, project = parameters(folder, "finetunephi-hub"), parameters(folder, "finetunephi-project")
    assert (hub["workspaceName"], hub["kind"].lower(), hub["location"]) == ("finetunephi-hub", "hub", "eastus2")
    assert (project["workspaceName"], project["kind"].lower()) == ("finetunephi-project", "project")
    assert project["workspace_hub"].endswith("/workspaces/finetunephi-hub")
    made = body(folder, "/workspaces/finetunephi-project/connections/phi-endpoint")["properties"]
    assert (made["category"], made["authType"]) == ("CustomKeys", "CustomKeys")
    assert made["credentials"]["keys"].keys() == {"endpoint", "key"}
    assert made["metadata"]["azureml.flow.connection_type"] == "Custom"


def test_row_17_clean_up_deletes_what_bills(folder: Path) -> None:
    cli.run(folder, "+recipe=teardown", *_CLOUD)
    deleted = {call.path.rsplit("/", 1)[1] for call in cloud.asked(folder, "DELETE", "/.*") if call.status < 300}
    assert {"finetune-phi-endpoint", "gpu-nc24s-a100-v4", "cpu-e16s-v3", "finetunephi-workspace"} <= deleted
    assert cloud.resources(folder) == []
