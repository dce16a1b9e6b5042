"""Endpoints, deployments and the gateway as the real client meets them: a container is a process that really serves."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.azureml.arm_client import Arm
from tests.azureml.emulator.client import ENVIRONMENT, GROUP, connect, environment, workspace
from tests.azureml.rig import Rig, running

_SCORE = """
import json, os, time
from azureml_inference_server_http.api.aml_response import AMLResponse
from sibling import NAME

def init():
    print("mounted", os.listdir(os.environ.get("AZUREML_MODEL_DIR", ".")), os.environ["COLOUR"], flush=True)
    if os.environ["COLOUR"] == "red":
        import phi_runner
    time.sleep(2 if os.environ["COLOUR"] == "grey" else 0)

def run(raw):
    body = json.loads(raw)
    time.sleep(body.get("sleep_s", 0))
    if body.get("stream"):
        return AMLResponse((f"piece {number};" for number in range(3)), 200, {"Content-Type": "text/event-stream"})
    if status := body.get("status"):
        return AMLResponse({"error": "no"}, status, json_str=True)
    return {"output": f"{NAME} {os.environ['COLOUR']} heard {body.get('input_data')}"}
"""
_LOADER = """
class _Model:
    def predict(self, data, params=None):
        return [f"{text} {sorted((params or {}).items())}" for text in data.iloc[:, 0]]

def _load_pyfunc(path):
    return _Model()
"""
_MLMODEL = """
flavors:
  python_function: {loader_module: tiny_loader, code: code, env: {conda: conda.yaml}}
  transformers: {}
signature:
  inputs: '[{"type": "string", "required": true}]'
  outputs: '[{"type": "string", "required": true}]'
  params: '[{"name": "max_new_tokens", "type": "integer", "default": 128, "shape": null}]'
"""


@pytest.fixture(scope="module")
def ml(rig: Rig) -> Iterator[Any]:
    """The real client."""
    with workspace(rig) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scoring code, and two MLflow models of which one lacks what the platform's script needs."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "code").mkdir()
    (folder / "code" / "score.py").write_text(_SCORE, encoding="utf-8")
    (folder / "code" / "sibling.py").write_text("NAME = 'the script'", encoding="utf-8")
    for name, requirement in (("model", "azureml-ai-monitoring"), ("without", "mlflow")):
        (folder / name / "code").mkdir(parents=True)
        (folder / name / "MLmodel").write_text(_MLMODEL, encoding="utf-8")
        (folder / name / "conda.yaml").write_text(f"dependencies: [pip: [{requirement}]]", encoding="utf-8")
        (folder / name / "code" / "tiny_loader.py").write_text(_LOADER, encoding="utf-8")
    return folder


class _Endpoint:
    """An endpoint of a test's own."""

    def __init__(self, ml: Any, name: str) -> None:
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        self.ml, self.name = ml, name
        self.entity = ml.online_endpoints.begin_create_or_update(
            ManagedOnlineEndpoint(name=name, auth_mode="key")
        ).result()
        self.key = ml.online_endpoints.get_keys(name).primary_key

    def begin(self, name: str, *, colour: str = "blue", code: Path | None, model: Path | None) -> Any:
        from azure.ai.ml.entities import CodeConfiguration, ManagedOnlineDeployment, Model, OnlineRequestSettings

        entity = ManagedOnlineDeployment(
            name=name, endpoint_name=self.name, instance_type="Standard_E4s_v3", instance_count=1,
            model=Model(path=str(model), type="mlflow_model") if model else None,
            environment=ENVIRONMENT if code else None, environment_variables={"COLOUR": colour},
            code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py") if code else None,
            request_settings=OnlineRequestSettings(
                request_timeout_ms=1500, max_concurrent_requests_per_instance=1, max_queue_wait_ms=5000
            ),
        )  # fmt: skip
        return self.ml.online_deployments.begin_create_or_update(entity)

    def deploy(self, name: str, *, colour: str = "blue", code: Path | None, model: Path | None) -> Any:
        return self.begin(name, colour=colour, code=code, model=model).result()

    def traffic(self, **shares: int) -> Any:
        self.entity.traffic = shares
        return self.ml.online_endpoints.begin_create_or_update(self.entity).result()

    def ask(self, body: Any, *, deployment: str = "", key: str = "", path: str = "/score") -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        url = self.entity.scoring_uri.removesuffix("/score") + path
        return httpx.post(url, headers=headers, json=body, timeout=60)


@pytest.fixture(scope="module")
def endpoint(ml: Any, files: Path) -> _Endpoint:
    """An endpoint with a deployment by code that gets all traffic."""
    made = _Endpoint(ml, "by-code")
    made.deploy("blue", code=files / "code", model=files / "model")
    made.traffic(blue=100)
    return made


def test_scoring_code_serves_with_the_model_mounted(endpoint: _Endpoint, ml: Any) -> None:
    answer = endpoint.ask({"input_data": "me"})
    assert (answer.status_code, answer.json()) == (200, {"output": "the script blue heard me"})
    assert answer.headers["azureml-model-deployment"] == "blue"
    logs = ml.online_deployments.get_logs("blue", "by-code", lines=50)
    assert "UserContainerStart: Succeeded" in logs
    assert "mounted ['model'] blue" in logs
    storage = ml.online_deployments.get_logs("blue", "by-code", lines=5, container_type="storage-initializer")
    assert "downloaded the model" in storage


def test_answers_are_streamed_and_failures_wrapped(endpoint: _Endpoint) -> None:
    streamed = endpoint.ask({"stream": True})
    assert streamed.text == "piece 0;piece 1;piece 2;"
    assert streamed.headers["content-type"] == "text/event-stream"
    refused = endpoint.ask({"status": 418})
    assert (refused.status_code, refused.headers["ms-azureml-model-error-statuscode"]) == (424, "418")
    assert refused.headers["ms-azureml-model-error-reason"] == "model_error"
    garbled = httpx.post(endpoint.entity.scoring_uri, headers={"Authorization": f"Bearer {endpoint.key}"}, content="{")
    assert garbled.status_code == 424  # the gateway does not read bodies
    failed = endpoint.ask([])
    assert (failed.status_code, failed.headers["ms-azureml-model-error-statuscode"]) == (424, "500")
    assert failed.json()["message"].startswith("An unexpected error occurred in scoring script.")
    unknown = endpoint.ask({}, path="/v1/chat/completions")
    assert (unknown.status_code, unknown.headers["ms-azureml-model-error-statuscode"]) == (424, "404")


def test_the_gateway_knows_keys_routes_and_limits(endpoint: _Endpoint, rig: Rig) -> None:
    wrong = endpoint.ask({}, key="another")
    assert (wrong.status_code, wrong.json()) == (401, {"message": "key_auth_access_denied"})
    assert endpoint.ask({}, deployment="gone").status_code == 404
    assert endpoint.ask({"sleep_s": 2.5}).status_code == 408
    gate = threading.Barrier(3)

    def ask(_number: int) -> int:
        gate.wait()
        return endpoint.ask({"sleep_s": 0.3}).status_code

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(ask, range(3))) == [200, 200, 429]
    served = [item for item in rig.admin("/served")["value"] if item["endpoint"] == "by-code"]
    assert {item["status"] for item in served} >= {200, 401, 404, 408, 429}


def test_traffic_goes_by_weight_and_never_to_what_is_not_there(endpoint: _Endpoint, files: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    endpoint.deploy("green", colour="green", code=files / "code", model=files / "model")
    assert endpoint.ask({"input_data": 1}).json() == {"output": "the script blue heard 1"}
    assert endpoint.ask({"input_data": 1}, deployment="green").json() == {"output": "the script green heard 1"}
    endpoint.traffic(blue=50, green=50)
    assert {endpoint.ask({}).headers["azureml-model-deployment"] for _ in range(20)} == {"blue", "green"}
    for shares in ({"blue": 60, "green": 60}, {"gone": 100}):
        with pytest.raises(HttpResponseError, match="InferencingClientCallFailed"):
            endpoint.traffic(**shares)
    with pytest.raises(HttpResponseError, match="Deployment green has traffic"):
        endpoint.ml.online_deployments.begin_delete("green", endpoint.name).result()
    endpoint.traffic(blue=100)
    endpoint.ml.online_deployments.begin_delete("green", endpoint.name).result()
    endpoint.traffic(blue=0)
    nowhere = endpoint.ask({})
    assert nowhere.status_code == 404
    assert nowhere.json()["message"].startswith("No valid deployments to route to.")
    endpoint.traffic(blue=100)


def test_a_container_that_does_not_boot_fails_its_deployment(endpoint: _Endpoint, files: Path, ml: Any) -> None:
    from azure.core.exceptions import HttpResponseError

    crashed = "User container has crashed or terminated"
    with pytest.raises(HttpResponseError, match=crashed):  # the image has no phi_runner, whatever this machine has
        endpoint.deploy("red", colour="red", code=files / "code", model=None)
    assert "No module named 'phi_runner'" in ml.online_deployments.get_logs("red", endpoint.name, lines=20)
    with pytest.raises(HttpResponseError, match=crashed) as caught:
        endpoint.deploy("red", code=None, model=files / "without")
    assert caught.value.error.code == "ResourceNotReady"
    logs = ml.online_deployments.get_logs("red", endpoint.name, lines=50)
    assert "from azureml.ai.monitoring import Collector" in logs
    assert "ModuleNotFoundError: No module named 'azureml'" in logs
    assert "UserContainerStart: Failed" in logs
    assert ml.online_deployments.get("red", endpoint.name).provisioning_state == "Failed"
    ml.online_deployments.begin_delete("red", endpoint.name).result()


def test_the_no_code_image_answers_as_the_platforms_script(endpoint: _Endpoint, files: Path) -> None:
    endpoint.deploy("mlflow", code=None, model=files / "model")

    def ask(body: Any) -> tuple[int, Any]:
        answer = endpoint.ask(body, deployment="mlflow")
        return answer.status_code, answer.json()

    assert ask({"input_data": ["a"], "params": {"max_new_tokens": 7}}) == (200, ["a [('max_new_tokens', 7)]"])
    assert ask({"inputs": ["a"]}) == (424, {"message": "A value is not provided for the 'input_data' parameter."})
    # the signature is a list of strings: the platform's own check refuses the other tutorial's form
    status, said = ask({"input_data": {"input_string": [{"role": "user", "content": "a"}], "parameters": {}}})
    assert (status, said["message"][:30]) == (424, "An unexpected error occurred i")


def test_quota_and_size_are_checked(endpoint: _Endpoint, files: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    with Arm(group=GROUP) as arm:
        path = f"{arm.ml}/workspaces/ws/onlineEndpoints/{endpoint.name}/deployments"
        blue = arm.get(f"{path}/blue", version="2023-04-01-preview")
        body = {key: blue[key] for key in ("location", "sku", "properties")}
        body["properties"] |= {"instanceType": "Standard_Unheard_of"}
        status, _code, said = arm.problem("PUT", f"{path}/strange", body)
        assert (status, said) == (400, "The request is invalid.")
    with pytest.raises(HttpResponseError, match="OutOfQuota: Not enough cluster CPU quota") as caught:
        endpoint.ml.online_deployments.begin_create_or_update(_big(endpoint, files)).result()
    assert caught.value.error.code is None
    endpoint.ml.online_deployments.begin_delete("big", endpoint.name).result()


def _big(endpoint: _Endpoint, files: Path) -> Any:
    from azure.ai.ml.entities import ManagedOnlineDeployment, Model

    model = Model(path=str(files / "model"), type="mlflow_model")
    return ManagedOnlineDeployment(
        name="big", endpoint_name=endpoint.name, instance_type="Standard_NC6s_v3", instance_count=2, model=model
    )


def test_names_keys_and_the_identity_of_an_endpoint(ml: Any, rig: Rig) -> None:
    from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration, ManagedOnlineEndpoint
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    with Arm(group=GROUP) as arm:
        path = f"{arm.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/runner"
        known = arm.put(path, {"location": "eastus2"}, version="2023-01-31")["properties"]
    identity = IdentityConfiguration(
        type="user_assigned", user_assigned_identities=[ManagedIdentityConfiguration(resource_id=path)]
    )
    wanted = ManagedOnlineEndpoint(name="with-identity", auth_mode="key", identity=identity)
    made = ml.online_endpoints.begin_create_or_update(wanted).result()
    assert made.scoring_uri == "https://with-identity.eastus2.inference.ml.azure.com/score"
    made_by = [call for call in rig.wire() if call["path"].endswith("/onlineEndpoints/with-identity")]
    created = next(call["response"] for call in made_by if call["method"] == "PUT")
    assert created["identity"]["userAssignedIdentities"][path]["clientId"] == known["clientId"]
    assert created["kind"] == "Managed"
    assert created["properties"]["scoringUri"] is None
    assert {"azureml.onlineendpointid", "AzureAsyncOperationUri"} <= created["properties"]["properties"].keys()
    old = ml.online_endpoints.get_keys("with-identity").primary_key
    ml.online_endpoints.begin_regenerate_keys("with-identity", key_type="primary").result()
    assert ml.online_endpoints.get_keys("with-identity").primary_key != old
    rig.admin("/endpoints", {"taken": ["everybodys"], "again_s": 60})
    with pytest.raises(HttpResponseError, match="There is already an endpoint with this name"):
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="everybodys")).result()
    ml.online_endpoints.begin_delete("with-identity").result()
    with pytest.raises(ResourceNotFoundError, match="InferencingClientCallFailed"):
        ml.online_endpoints.begin_create_or_update(wanted).result()
    rig.admin("/endpoints", {"again_s": 0})
    ml.online_endpoints.begin_create_or_update(wanted).result()
    ml.online_endpoints.begin_delete("with-identity").result()


def test_containers_end_with_the_emulator_and_come_back_with_it(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    with running(folder) as rig, workspace(rig) as ml:
        endpoint = _Endpoint(ml, "lasting")
        endpoint.deploy("blue", code=files / "code", model=None)
        endpoint.traffic(blue=100)
        endpoint.begin("green", colour="grey", code=files / "code", model=None)
        containers = psutil.Process(rig.pid).children()
        rig.process.kill()
        rig.process.wait()
        _gone, left = psutil.wait_procs(containers, timeout=10)
        assert containers
        assert not left
    with running(folder) as rig, environment(rig):
        endpoint.ml = connect(rig)
        assert endpoint.ask({"input_data": 2}).json() == {"output": "the script blue heard 2"}
        until = time.monotonic() + 30  # the cloud goes on with what it has begun
        while (green := endpoint.ml.online_deployments.get("green", "lasting")).provisioning_state == "Creating":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert green.provisioning_state == "Succeeded"
        assert endpoint.ask({"input_data": 3}, deployment="green").json() == {"output": "the script grey heard 3"}
        containers = psutil.Process(rig.pid).children()
        assert len(containers) == 2
        endpoint.ml.online_endpoints.begin_delete("lasting").result()
        assert not [process for process in containers if process.is_running()]
        assert not [item for item in rig.admin("/state")["resources"] if "/onlineendpoints/" in item]
        statuses = [item["status"] for item in rig.admin("/served")["value"]]
        assert statuses == [200, 200]
