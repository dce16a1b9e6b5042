"""The emulator as a process: its start and end, its restart, what it refuses, what it injects, what it writes down."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from phi_runner import processes
from phi_runner.azureml.emulator.settings import SUBSCRIPTION
from tests.azureml.arm_client import Arm
from tests.azureml.emulator.conftest import enter
from tests.azureml.rig import Rig, running

STORE = "/providers/Microsoft.Storage/storageAccounts/"


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> None:
    if "rig" in request.fixturenames:
        rig: Rig = request.getfixturevalue("rig")
        rig.admin("/clear", {})


def test_it_is_ready_soon_and_says_where_it_is(cloud_folder: Path) -> None:
    begun = time.monotonic()
    with running(cloud_folder) as rig:
        assert time.monotonic() - begun < 10
        announced = json.loads((cloud_folder / "announce.json").read_text(encoding="utf-8"))
        assert announced["pid"] == rig.pid
        assert announced["proxy"].startswith("http://127.0.0.1:")
        assert set(announced) == {"proxy", "ca", "pid"}, "no secret in it"
        assert (cloud_folder.stat().st_mode & 0o777) == 0o700
        private = [cloud_folder / name for name in ("secrets.json", "ca-key.pem")]
        assert {file.stat().st_mode & 0o777 for file in private} == {0o600}
    assert not (cloud_folder / "announce.json").exists()


def test_a_killed_emulator_comes_back_with_everything_it_had(
    cloud_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(cloud_folder) as rig:
        enter(rig, monkeypatch)
        with Arm() as arm:
            arm.put(arm.group, {"location": "eastus2"})
            arm.put(f"{arm.ml}/workspaces/w", {"location": "eastus2", "properties": {}})
        rig.process.kill()
        rig.process.wait()
    with running(cloud_folder) as again:
        assert again.environment["AZURE_CLIENT_SECRET"] == rig.environment["AZURE_CLIENT_SECRET"]
        enter(again, monkeypatch)
        with Arm() as arm:
            assert arm.get(f"{arm.ml}/workspaces/w")["properties"]["provisioningState"] == "Succeeded"
            assert len(arm.get(f"{arm.ml}/workspaces/w/datastores")["value"]) == 2


def test_a_second_emulator_on_one_folder_is_refused(rig: Rig) -> None:
    command = [sys.executable, "-m", "phi_runner.azureml.emulator", "--folder", str(rig.folder)]
    second = subprocess.run([*command, "--announce", str(rig.folder / "second.json")], capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr == f"error: another emulator keeps its state in {rig.folder}: end it, or use another folder\n"


def test_it_ends_with_the_process_that_started_it(cloud_folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.azureml.rig import running\n"
        f"with running(Path({str(cloud_folder)!r})) as rig: print(rig.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        created = processes.created(pid)
        starter.kill()
    running_one = processes.Running(name="e", kind="e", pid=pid, created=created, url="", log="", detached=False)
    until = time.monotonic() + 10
    while running_one.alive():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_unknown_hosts_are_refused_and_recorded(rig: Rig) -> None:
    before = len(rig.refused())
    context = ssl.create_default_context(cafile=rig.environment["SSL_CERT_FILE"])
    proxies = urllib.request.ProxyHandler({name: rig.environment["HTTPS_PROXY"] for name in ("http", "https")})
    opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))
    for url in ("https://example.invalid/x", "http://management.azure.com/?secret=canary", "https://evilazureml.ms/"):
        with pytest.raises((urllib.error.URLError, OSError)):
            opener.open(url, timeout=10)
    found = rig.refused()[before:]
    assert [item["host"] for item in found] == [
        "example.invalid:443",
        "http://management.azure.com/",
        "evilazureml.ms:443",
    ]
    assert "canary" not in (rig.folder / "refused.jsonl").read_text(encoding="utf-8")


def test_every_azure_host_shows_a_certificate_of_its_own(rig: Rig) -> None:
    context = ssl.create_default_context(cafile=rig.environment["SSL_CERT_FILE"])
    proxies = urllib.request.ProxyHandler({"https": rig.environment["HTTPS_PROXY"]})
    opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))
    for host in ("ml.azure.com", "westus3.api.azureml.ms", "e.westus3.inference.ml.azure.com"):
        with pytest.raises(urllib.error.HTTPError) as answered:
            opener.open(f"https://{host}/nothing", timeout=10)
        answered.value.close()


def test_a_fault_strikes_the_calls_it_matches_and_is_counted(rig: Rig, arm: Arm) -> None:
    path = f"{arm.group}{STORE}counted"
    rig.admin("/faults", {"match": "PUT management.azure.com/.*/counted$", "status": 409, "code": "Busy", "after": 1})
    assert arm.send("PUT", path, {"location": "eastus2"}).status_code == 201
    assert arm.problem("PUT", path, {}) == (409, "Busy", "A fault was injected.")
    assert arm.send("PUT", path, {"location": "eastus2"}).status_code == 200
    assert rig.admin("/faults")["value"][0]["injected"] == 1
    rig.admin("/clear", {})
    assert rig.admin("/faults")["value"] == []


def test_retry_after_is_honoured_by_the_real_pipeline(rig: Rig, arm: Arm) -> None:
    fault = {"match": r"GET .*/resourceGroups/tests$", "status": 429, "times": 2, "headers": {"Retry-After": "0.3"}}
    rig.admin("/faults", fault | {"code": "TooManyRequests"})
    begun = time.monotonic()
    assert arm.get(arm.group)["name"] == "tests"
    assert time.monotonic() - begun >= 0.6
    assert rig.admin("/faults")["value"][0]["injected"] == 2


def test_a_delay_alone_changes_no_answer(rig: Rig, arm: Arm) -> None:
    rig.admin("/faults", {"match": "GET .*/resourceGroups/tests", "delay_s": 0.3})
    begun = time.monotonic()
    assert arm.get(arm.group)["name"] == "tests"
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(("mode", "there"), [("drop", False), ("lost", True)])
def test_a_cut_connection_leaves_work_undone_or_done_but_unanswered(rig: Rig, arm: Arm, mode: str, there: bool) -> None:
    path = f"{arm.group}{STORE}{mode}"
    rig.admin("/faults", {"match": f"PUT .*/{mode}$", "mode": mode, "times": -1})
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        arm.send("PUT", path, {"location": "eastus2"})
    rig.admin("/clear", {})
    assert arm.send("HEAD", path).status_code == (204 if there else 404)
    assert arm.send("PUT", path, {"location": "eastus2"}).status_code == (200 if there else 201)


def test_a_bad_fault_is_refused(rig: Rig) -> None:
    for body in ({"match": "("}, {"match": "x", "colour": "red"}, {"match": "x", "mode": "explode"}, {}):
        with pytest.raises(AssertionError):
            rig.admin("/faults", body)


def test_an_expired_token_is_an_authentication_error_and_a_new_one_works(rig: Rig, arm: Arm) -> None:
    rig.admin("/expire", {})
    answer = arm.send("GET", arm.group)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert "earlier than current UTC time" in answer.json()["error"]["message"]
    with Arm() as fresh:
        assert fresh.get(fresh.group)["name"] == "tests"


def test_a_wrong_client_secret_is_an_authentication_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(rig, monkeypatch)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    with Arm() as arm, pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        arm.get(arm.group)


def test_another_subscription_is_not_found(arm: Arm) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    for tail in ("", "/resourceGroups/g", "/providers/Microsoft.MachineLearningServices/locations/eastus2/usages"):
        status, code, message = arm.problem("GET", f"/subscriptions/{other}{tail}")
        assert (status, code) == (404, "SubscriptionNotFound")
        assert other in message
    assert arm.get("/subscriptions")["value"][0]["subscriptionId"] == SUBSCRIPTION


def test_a_body_that_is_no_json_is_a_bad_request(rig: Rig, arm: Arm) -> None:
    del arm
    token = "eyJ.canary"
    context = ssl.create_default_context(cafile=rig.environment["SSL_CERT_FILE"])
    proxies = urllib.request.ProxyHandler({"https": rig.environment["HTTPS_PROXY"]})
    opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))
    url = f"https://management.azure.com/subscriptions/{SUBSCRIPTION}/resourceGroups/x"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(urllib.request.Request(url, b"{", headers, method="PUT"), timeout=10)
    assert refused.value.code == 400
    refused.value.close()


def test_the_wire_log_shows_what_was_asked_and_no_secret(rig: Rig, arm: Arm) -> None:
    workspace = f"{arm.ml}/workspaces/wire"
    arm.put(workspace, {"location": "eastus2", "properties": {}})
    arm.put(f"{workspace}/connections/c", {"properties": {
        "category": "CustomKeys", "authType": "CustomKeys", "target": "_",
        "credentials": {"keys": {"endpoint": "https://e", "key": "canary-key"}}, "metadata": {"a": "b"},
    }})  # fmt: skip
    arm.send("POST", f"{workspace}/connections/c/listsecrets")
    sas = arm.send("POST", f"{workspace}/datastores/workspaceblobstore/listSecrets").json()["sasToken"]
    calls = rig.wire()
    put = next(item for item in calls if item["path"].endswith("/connections/c") and item["method"] == "PUT")
    assert put["request"]["properties"]["credentials"] == {"keys": {"endpoint": "***", "key": "***"}}
    assert (put["host"], put["status"], put["query"]) == ("management.azure.com", 200, {"api-version": "2024-04-01"})
    assert put["request"]["properties"]["metadata"] == {"a": "b"}
    text = rig.wire_log.read_text(encoding="utf-8")
    signature = sas.split("sig=")[1].split("&")[0]
    for secret in ("canary-key", signature, rig.environment["AZURE_CLIENT_SECRET"], "eyJ"):
        assert secret not in text
    assert os.stat(rig.wire_log).st_size > 0
