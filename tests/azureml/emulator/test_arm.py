"""Resource groups, identities, role assignments and plain resources, as a client of the resource manager meets them."""

import time
import uuid
from typing import Any

import pytest

from phi_runner.azureml.emulator.settings import SUBSCRIPTION
from tests.azureml.arm_client import Arm

CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def role(principal: str, definition: str = CONTRIBUTOR) -> dict[str, Any]:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{definition}"
    return {"properties": {"roleDefinitionId": path, "principalId": principal, "principalType": "ServicePrincipal"}}


def ended(arm: Arm, answer: Any) -> int:
    """Follow a Location until it says that the operation is over."""
    location = answer.headers["Location"].removeprefix("https://management.azure.com").split("?")[0]
    until = time.monotonic() + 10
    while (status := arm.send("GET", location).status_code) == 202:
        assert time.monotonic() < until
        time.sleep(0.02)
    return status


def test_a_resource_group_is_made_updated_and_removed_with_all_in_it(arm: Arm) -> None:
    group = f"{arm.subscription}/resourceGroups/short-lived"
    assert arm.problem("GET", group)[:2] == (404, "ResourceGroupNotFound")
    assert arm.send("HEAD", group).status_code == 404
    assert arm.problem("PUT", group, {"tags": {}})[:2] == (400, "LocationRequired")
    assert arm.send("PUT", group, {"location": "eastus2"}).status_code == 201
    assert arm.send("PUT", group, {"location": "eastus2", "tags": {"a": "b"}}).status_code == 200
    assert arm.problem("PUT", group, {"location": "westus"})[:2] == (409, "InvalidResourceGroupLocation")
    assert arm.send("HEAD", group).status_code == 204
    vault = f"{group}/providers/Microsoft.KeyVault/vaults/v"
    arm.put(vault, {"location": "eastus2"})
    assert [item["name"] for item in arm.get(f"{group}/resources")["value"]] == ["v"]
    answer = arm.send("DELETE", group)
    assert answer.status_code == 202
    assert ended(arm, answer) == 204
    assert arm.problem("GET", vault)[:2] == (404, "ResourceGroupNotFound")
    assert arm.problem("PUT", vault, {})[:2] == (404, "ResourceGroupNotFound")
    assert arm.problem("DELETE", group)[0] == 404


def test_resources_converge(arm: Arm) -> None:
    path = f"{arm.group}/providers/Microsoft.ContainerRegistry/registries/Reg1"
    assert arm.problem("GET", path)[:2] == (404, "ResourceNotFound")
    body = {"location": "eastus2", "sku": {"name": "Basic"}}
    assert arm.send("PUT", path, body).status_code == 201
    assert arm.send("PUT", path, body).status_code == 200
    found = arm.get(path.lower().replace("/resourcegroups/", "/resourceGroups/"))
    assert (found["id"], found["type"]) == (path, "Microsoft.ContainerRegistry/registries")
    assert found["properties"] == {"provisioningState": "Succeeded", "loginServer": "reg1.azurecr.io"}
    arm.send("PATCH", path, {"tags": {"a": "b"}, "properties": {"x": 1}})
    assert arm.get(path)["tags"] == {"a": "b"}
    assert arm.get(f"{arm.subscription}/providers/Microsoft.ContainerRegistry/registries")["value"][0]["name"] == "Reg1"
    assert arm.send("DELETE", path).status_code == 200
    assert arm.send("DELETE", path).status_code == 204
    check = f"{arm.subscription}/providers/Microsoft.Storage/checkNameAvailability"
    assert arm.send("POST", check, {"name": "x"}).json()["nameAvailable"] is True
    assert arm.get(f"{arm.subscription}/providers/Microsoft.Quota")["registrationState"] == "Registered"


def test_an_identity_keeps_its_ids(arm: Arm) -> None:
    path = f"{arm.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
    made = arm.put(path, {"location": "eastus2"}, version="2024-11-30")["properties"]
    assert uuid.UUID(made["principalId"]) != uuid.UUID(made["clientId"])
    assert arm.put(path, {"location": "eastus2"}, version="2024-11-30")["properties"] == made


def test_a_role_is_given_once(arm: Arm) -> None:
    roles = f"{arm.group}/providers/Microsoft.Authorization/roleAssignments"
    first, second, principal = (str(uuid.uuid4()) for _ in range(3))
    assert arm.send("PUT", f"{roles}/{first}", role(principal)).status_code == 201
    assert arm.send("PUT", f"{roles}/{first}", role(principal)).status_code == 200
    status, code, message = arm.problem("PUT", f"{roles}/{second}", role(principal))
    assert (status, code) == (409, "RoleAssignmentExists")
    assert message == ("The role assignment already exists. The ID of the existing role assignment is "
                       f"{first.replace('-', '')}.")  # fmt: skip
    assert arm.problem("PUT", f"{roles}/{first}", role(principal, PULL))[1] == "RoleAssignmentUpdateNotPermitted"
    assert arm.send("PUT", f"{roles}/{second}", role(principal, PULL)).status_code == 201
    assert len(arm.get(f"{roles}")["value"]) == 2
    assert arm.problem("PUT", f"{roles}/{uuid.uuid4()}", {"properties": {}})[0] == 400
    assert arm.send("DELETE", f"{roles}/{first}").status_code == 200
    assert arm.send("PUT", f"{roles}/{uuid.uuid4()}", role(principal)).status_code == 201


def test_an_unknown_operation_is_not_found(arm: Arm) -> None:
    base = f"{arm.subscription}/providers/Microsoft.MachineLearningServices/locations/eastus2"
    for kind in ("mfeOperationsStatus", "mfeOperationResults"):
        assert arm.problem("GET", f"{base}/{kind}/{uuid.uuid4()}")[0] == 404


@pytest.mark.parametrize("path", ["/providers/x", "/nothing"])
def test_what_is_not_emulated_says_so(arm: Arm, path: str) -> None:
    assert arm.problem("GET", path)[:2] == (404, "NotFound")
