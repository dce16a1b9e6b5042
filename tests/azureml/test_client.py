"""The connection: credentials and clouds as configured, quiet, one per config, nothing imported early."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.azureml import client
from phi_runner.azureml.wording import in_our_words
from phi_runner.config.schema import AccountAzure, AzureConfig, Credential
from phi_runner.config.schema.cloud import AzureCloud
from phi_runner.errors import RemoteFailed
from tests.azureml.accounts import SUBSCRIPTION, TENANT, account, entered
from tests.azureml.rig import Rig, running

CUSTOM = {
    "azure_portal": "https://portal.loop/", "resource_manager": "https://arm.loop/", "storage_endpoint": "core.loop",
    "active_directory": "https://login.loop/", "aml_resource_id": "https://ml.loop/",
    "registry_discovery_endpoint": "https://registry.loop/",
}  # fmt: skip


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An emulator for this module, with the environment pointing at it."""
    with running(tmp_path_factory.mktemp("cloud")) as rig, entered(rig):
        yield rig


def config(**more: object) -> AzureConfig:
    return AccountAzure(**{"subscription": SUBSCRIPTION, "tenant": TENANT, **more})  # type: ignore[arg-type]


def test_loading_the_module_loads_no_azure() -> None:
    program = (
        "import sys, phi_runner.azureml.client, phi_runner.azureml.infra, phi_runner.azureml.removal, "
        "phi_runner.stages.infra, phi_runner.stages.teardown; "
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'msal', 'requests')])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("credential", "kind"),
    [
        (Credential.cli, "AzureCliCredential"),
        (Credential.default, "DefaultAzureCredential"),
        (Credential.device_code, "DeviceCodeCredential"),
        (Credential.managed_identity, "ManagedIdentityCredential"),
    ],
)
def test_each_way_to_sign_in_has_its_credential(credential: Credential, kind: str) -> None:
    assert type(client.connect(config(credential=credential)).credential).__name__ == kind


@pytest.mark.parametrize(
    ("cloud", "manager"),
    [
        (AzureCloud.public, "https://management.azure.com"),
        (AzureCloud.china, "https://management.chinacloudapi.cn"),
        (AzureCloud.government, "https://management.usgovcloudapi.net"),
    ],
)
def test_each_cloud_has_its_addresses(cloud: AzureCloud, manager: str) -> None:
    azure = client.connect(config(cloud=cloud))
    assert azure.arm.client.format_url("/x") == f"{manager}/x"
    assert azure.token_scope == f"{manager}/.default"
    assert azure.ml._base_url == manager
    assert azure.scope == str(cloud)


def test_a_custom_cloud_is_used_with_its_own_addresses() -> None:
    azure = client.connect(config(cloud=AzureCloud.custom, cloud_endpoints=CUSTOM))
    assert azure.ml._base_url == "https://arm.loop"
    assert azure.studio == "https://ml.loop"


def test_a_custom_cloud_that_lacks_an_address_never_asks_the_public_one() -> None:
    lacking = {key: value for key, value in CUSTOM.items() if key != "storage_endpoint"}
    with pytest.raises(RemoteFailed, match=r"lacks storage_endpoint: type \+azure\.cloud_endpoints\.storage_endpoint="):
        client.connect(config(cloud=AzureCloud.custom, cloud_endpoints=lacking))


def test_no_subscription_says_where_one_comes_from() -> None:
    with pytest.raises(
        RemoteFailed, match=r"no subscription is named: export AZURE_SUBSCRIPTION_ID=\$\(az account show"
    ):
        client.connect(config(subscription=""))


def test_one_config_has_one_connection_and_one_client_per_workspace(rig: Rig) -> None:
    azure = client.connect(account("same"))
    assert client.connect(account("same")) is azure
    assert client.connect(account("other")) is not azure
    assert azure.ml is azure.ml_for("same-ws")
    assert azure.ml_for("project") is not azure.ml
    assert azure.scope == "rehearsal"


def test_a_real_sign_in_works_and_a_wrong_secret_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    azure = client.connect(account("signed"))
    assert azure.arm.get(azure.ids.subscription, api_version="2022-12-01") is not None
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    other = client.connect(account("wrong"))
    with pytest.raises(RemoteFailed, match=r"looking: .*sign-in.*run `az login`") as caught, in_our_words("looking"):
        other.arm.get(other.ids.subscription, api_version="2022-12-01")
    assert "wrong" not in str(caught.value).replace("looking", "")


def test_az_that_is_missing_or_signed_out_is_told(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure = client.connect(account("nocli", credential=Credential.cli))
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(RemoteFailed, match="the Azure CLI is not installed"), in_our_words("looking"):
        azure.arm.get(azure.ids.subscription, api_version="2022-12-01")
    az = tmp_path / "az"
    az.write_text("#!/bin/sh\necho \"ERROR: Please run 'az login' to setup account.\" >&2\nexit 1\n")
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(RemoteFailed, match="you are not signed in: run `az login`"), in_our_words("looking"):
        azure.arm.get(azure.ids.subscription, api_version="2022-12-01")


def test_a_network_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    azure = client.connect(account("offline"))
    azure.arm.get(azure.ids.subscription, api_version="2022-12-01")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(RemoteFailed, match="looking: Azure cannot be reached"), in_our_words("looking"):
        azure.arm.get(azure.ids.workspace, api_version="2024-10-01")


def test_the_client_keeps_quiet(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    azure = client.connect(account("quiet"))
    with pytest.raises(RemoteFailed), in_our_words("looking"):
        azure.ml.workspaces.get("quiet-ws")
    found = capfd.readouterr()
    assert found.out == ""
    assert found.err == ""
