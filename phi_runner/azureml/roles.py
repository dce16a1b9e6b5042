"""What the endpoint's identity may do: three role assignments whose ids follow from what they say."""

from phi_runner.azureml import versions
from phi_runner.azureml.arm import already_there
from phi_runner.azureml.names import ACR_PULL, CONTRIBUTOR, STORAGE_BLOB_DATA_READER, short
from phi_runner.azureml.services import Maker
from phi_runner.azureml.wording import in_our_words
from phi_runner.ledger import Made


def assign(maker: Maker, *, principal: str, storage: str, registry: str) -> None:
    """Give the identity the tutorials' three roles; a role that it has already, under any id, stays as it is."""
    for role, title, scope in (
        (CONTRIBUTOR, "Contributor", maker.azure.ids.resource_group),
        (STORAGE_BLOB_DATA_READER, "Storage Blob Data Reader", storage),
        (ACR_PULL, "AcrPull", registry),
    ):
        _assign(maker, role=role, title=title, scope=scope, principal=principal)


def _assign(maker: Maker, *, role: str, title: str, scope: str, principal: str) -> None:
    ids, arm = maker.azure.ids, maker.azure.arm
    resource = ids.assignment(scope=scope, role=role, principal=principal)
    with in_our_words(f"role {title} on {short(scope)}"):
        if arm.exists(resource, api_version=versions.ROLE_ASSIGNMENTS):
            maker.ledger.made(resource)
            return
        maker.events.info(f"gives the endpoint's identity the role {title} on {short(scope)}")
        # The type keeps Azure from looking the principal up where a new one is not known yet.
        properties = {
            "roleDefinitionId": ids.role(role), "principalId": principal, "principalType": "ServicePrincipal"
        }  # fmt: skip
        made = False
        with maker.making(Made.role_assignment, resource), already_there():
            arm.put(resource, {"properties": properties}, api_version=versions.ROLE_ASSIGNMENTS)
            made = True
    if not made:
        maker.ledger.removed(resource)  # it exists under another id, which somebody else gave it
