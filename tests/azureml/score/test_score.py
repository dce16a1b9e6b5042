"""The scoring code as a deployment runs it: staged, in a process of its own, with none of the runner's libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi_runner.azureml import package
from phi_runner.azureml.score import model_files
from phi_runner.errors import DeployFailed
from phi_runner.template import template_hash
from tests.azureml.score.saved import mlflow_folder
from tests.tiny import make_model_folder

REQUEST = """
def rawhttp(function):
    return function
class AMLRequest:
    pass
"""
RESPONSE = """
class AMLResponse:
    def __init__(self, message, status_code, response_headers={}):
        self.body, self.status, self.headers = message, status_code, response_headers
"""
SERVER = '''
"""Does what Azure's inference server does: loads the script, calls init once and run for every request."""
import importlib.util, json, sys
for name in ("hydra", "omegaconf", "mlflow", "azure", "datasets", "trl", "peft", "accelerate"):
    sys.modules[name] = None
spec = importlib.util.spec_from_file_location("entry_module", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.init()
class Request:
    def __init__(self, method, body):
        self.method, self.headers, self._body = method, {"Content-Type": "application/json"}, body.encode()
    def get_data(self):
        return self._body
replies = []
for method, body in json.load(sys.stdin):
    answer = script.run(Request(method, body))
    replies.append({"status": answer.status, "body": answer.body.decode(), "headers": answer.headers})
print(json.dumps({"replies": replies, "package": sys.modules["phi_runner"].__file__}))
'''


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as MLflow lays it out, below a folder named like the job's output."""
    folder = tmp_path_factory.mktemp("azureml-models")
    mlflow_folder(make_model_folder(folder / "plain"), folder=folder / "1" / "model_output")
    return folder


def serve(
    saved: Path, tmp_path: Path, requests: list[tuple[str, str]], **told: str
) -> "subprocess.CompletedProcess[str]":
    stand_in = tmp_path / "site" / "azureml_inference_server_http" / "api"
    stand_in.mkdir(parents=True)
    (stand_in / "aml_request.py").write_text(REQUEST)
    (stand_in / "aml_response.py").write_text(RESPONSE)
    (tmp_path / "server.py").write_text(SERVER)
    staged = package.stage_scoring_code(tmp_path)
    environment = os.environ | told | {
        "PYTHONPATH": str(tmp_path / "site"), "AZUREML_MODEL_DIR": str(saved / "1"), "PYTHONSAFEPATH": "1",
        "TMPDIR": str(tmp_path),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, str(tmp_path / "server.py"), str(staged / "score.py")], cwd=tmp_path, env=environment,
        input=json.dumps(requests), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_both_contracts_and_every_refusal_come_from_our_own_application(saved: Path, tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "Who founded Microsoft?"}]
    greedy = {"max_new_tokens": 8, "do_sample": False}
    requests: list[Any] = [
        {"input_data": ["Who founded Microsoft?"], "params": greedy},
        {"input_data": {"input_string": turn, "parameters": greedy}},
        {"input_data": [], "params": {}},
        {"input_data": ["x"], "params": {"max_new_tokens": 5000}},
        {"input_data": ["x " * 600_000]},
    ]
    bodies = [("POST", json.dumps(body)) for body in requests] + [("POST", "{"), ("GET", "")]
    done = serve(saved, tmp_path, bodies, PHI_RUNNER_TEMPLATE_HASH=template_hash(saved / "plain"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    statuses = [reply["status"] for reply in said["replies"]]
    assert statuses == [200, 200, 422, 422, 413, 400, 405]
    first, second, *refused = [json.loads(reply["body"]) for reply in said["replies"]]
    assert first == [second["output"]]
    assert first[0].strip()
    assert refused[0]["error"]["param"] == "input_data"
    assert said["replies"][0]["headers"]["Content-Type"] == "application/json"
    assert said["package"].startswith(str(tmp_path / "azure" / "code"))


def test_another_chat_template_ends_the_container_with_the_reason(saved: Path, tmp_path: Path) -> None:
    done = serve(saved, tmp_path, [], PHI_RUNNER_TEMPLATE_HASH="0" * 64)
    assert done.returncode == 1
    assert "DeployFailed: the model has another chat template" in done.stderr


def test_a_model_is_found_wherever_azure_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(DeployFailed, match="there is no model in"):
        model_files.found(tmp_path)
    (tmp_path / "a" / "b" / "config.json").touch()
    assert model_files.joined(tmp_path, folder=tmp_path / "links") == tmp_path / "a" / "b"
    (tmp_path / "a" / "MLmodel").touch()
    with pytest.raises(DeployFailed, match="holds no transformers model"):
        model_files.joined(tmp_path, folder=tmp_path / "links")
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "a" / "model" / "config.json").write_text("{}")
    joined = model_files.joined(tmp_path, folder=tmp_path / "links")
    assert (joined / "config.json").read_text() == "{}"
    assert model_files.joined(tmp_path, folder=tmp_path / "links") == joined
