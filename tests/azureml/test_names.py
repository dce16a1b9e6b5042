"""Names and ARM ids: always legal, always the same for the same workspace, and the SDK reads them as its own."""

import re
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from phi_runner.azureml import names
from phi_runner.azureml.names import Ids
from phi_runner.config.schema import AccountAzure, AzureDeploy

LEGAL = {
    "storage": re.compile(r"[a-z0-9]{3,24}"),
    "key_vault": re.compile(r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]"),
    "registry": re.compile(r"[A-Za-z0-9]{5,50}"),
    "app_insights": re.compile(r"[\w().-]{0,254}[\w()-]", re.ASCII),
    "log_analytics": re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]"),
}
ENDPOINT = re.compile(r"[a-z](?!.*--)[a-z0-9-]{1,30}[a-z0-9]")
JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")


def ids(subscription: str = "s", group: str = "g", workspace: str = "w", **more: Any) -> Ids:
    return Ids(AccountAzure(subscription=subscription, tenant="", resource_group=group, workspace=workspace, **more))


@given(st.text(), st.text(), st.text())
def test_derived_names_are_legal_whatever_the_workspace_is_called(
    subscription: str, group: str, workspace: str
) -> None:
    found = ids(subscription, group, workspace)
    for part, pattern in LEGAL.items():
        assert pattern.fullmatch(names.short(getattr(found, part)))
    assert ENDPOINT.fullmatch(found.endpoint_name(AzureDeploy()))


@given(st.from_regex(r"[a-z]{3,9}", fullmatch=True), st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 99))
def test_job_names_are_legal_and_one_per_retry(stage: str, key: str, retry: int) -> None:
    name = names.job_name(stage, key, retry=retry)
    assert JOB.fullmatch(name)
    assert name.startswith(f"phi-{stage}-{key[:20]}")
    assert (name == names.job_name(stage, key)) == (retry == 0)


def test_two_workspaces_share_no_name_and_spelling_does_not_matter() -> None:
    assert ids(workspace="one").storage != ids(workspace="two").storage
    assert ids(group="A").registry.rsplit("/")[-1] == ids(group="a").registry.rsplit("/")[-1]


def test_given_names_stay_and_a_whole_id_is_taken_as_it_is() -> None:
    elsewhere = "/subscriptions/x/resourceGroups/y/providers/Microsoft.ContainerRegistry/registries/z"
    found = ids(storage_account="mine", container_registry=elsewhere)
    assert names.short(found.storage) == "mine"
    assert found.registry == elsewhere
    assert found.endpoint_name(AzureDeploy(name="typed")) == "typed"


def test_role_assignments_have_one_guid_per_scope_role_and_principal() -> None:
    scope = "/subscriptions/S/resourceGroups/G"
    one = names.assignment_id(scope=scope, role=names.ACR_PULL, principal="p")
    assert one == names.assignment_id(scope=scope.lower(), role=names.ACR_PULL.upper(), principal="P")
    assert one != names.assignment_id(scope=scope, role=names.CONTRIBUTOR, principal="p")
    assert uuid.UUID(one).version == 5
    found = ids().assignment(scope=scope, role=names.ACR_PULL, principal="p")
    assert found == f"{scope}/providers/Microsoft.Authorization/roleAssignments/{one}"


def test_ids_are_what_the_specification_writes() -> None:
    found = ids(identity="N")
    assert found.identity == (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N"
    )
    assert found.deployment("e", "blue") == f"{found.workspace}/onlineEndpoints/e/deployments/blue"
    assert names.same(found.workspace, found.workspace.upper() + "/")
