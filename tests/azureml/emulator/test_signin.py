"""Sign-in with the real azure-identity."""

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, DeviceCodeCredential

from phi_runner.azureml.emulator.cloud import TENANT
from phi_runner.azureml.emulator.settings import CLIENT_ID
from tests.azureml.rig import Rig

SCOPE = "https://management.azure.com/.default"


def test_a_device_code_is_shown_and_granted(signed_in: Rig) -> None:
    del signed_in
    shown: list[tuple[str, str]] = []
    with DeviceCodeCredential(
        tenant_id=TENANT, prompt_callback=lambda page, code, _until: shown.append((page, code))
    ) as credential:
        record = credential.authenticate(scopes=[SCOPE])
        assert credential.get_token(SCOPE).token
    assert shown == [("https://microsoft.com/devicelogin", "REHEARSAL")]
    assert (record.tenant_id, record.username) == (TENANT, "rehearsal@phi-runner.invalid")


@pytest.mark.parametrize(
    ("tenant", "client", "code"),
    [
        (TENANT, "99999999-9999-9999-9999-999999999999", "AADSTS700016"),
        ("99999999-9999-9999-9999-999999999999", CLIENT_ID, "tenant name or GUID"),
    ],
)
def test_an_unknown_application_or_tenant_is_refused(signed_in: Rig, tenant: str, client: str, code: str) -> None:
    secret = signed_in.environment["AZURE_CLIENT_SECRET"]
    with ClientSecretCredential(tenant, client, secret) as credential, pytest.raises((
        ClientAuthenticationError, ValueError,
    ), match=code):  # fmt: skip
        credential.get_token(SCOPE)
