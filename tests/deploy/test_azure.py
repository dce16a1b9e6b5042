"""Blue and green in the emulated Azure: killed between any two calls, and with everything that Azure does wrong.

The deployments run a scoring script of a few lines, so that one is up within a second.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_runner.artifacts import Endpoint
from phi_runner.azureml.endpoints import Online
from phi_runner.azureml.wish import Wish
from phi_runner.config.schema import AzureDeploy
from phi_runner.deploy import azure
from phi_runner.errors import DeployFailed
from tests.azureml.accounts import Site, account, config_of, entered, site
from tests.azureml.rig import Rig, running
from tests.deploy.rig import held_out

pytestmark = pytest.mark.filterwarnings("ignore")
SCRIPT = """
import json
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
def init():
    BEGIN
@rawhttp
def run(request):
    given = json.loads(request.get_data())["input_data"]
    answer = ["ANSWER"] if isinstance(given, list) else {"output": "ANSWER"}
    return AMLResponse(json.dumps(answer), 200, {"Content-Type": "application/json"})
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A workspace, its identity, and a folder for scripts and results."""

    site: Site
    fields: dict[str, str]
    folder: Path

    def script(self, name: str, *, answer: str = "Paris.", begin: str = "pass") -> Path:
        folder = self.folder / "code" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "score.py").write_text(SCRIPT.replace("BEGIN", begin).replace("ANSWER", answer))
        return folder

    def online(self, name: str) -> Online:
        return Online(azure=self.site.azure, name=name, ledger=self.site.ledger, events=self.site.heard.events)

    def deploy(self, name: str, code: Path, *, version: str = "1", answers: str = "", **chosen: object) -> Endpoint:
        config = AzureDeploy(name=name, step_s=0.0, bake_s=0.0, shift=[50, 100], **chosen)  # type: ignore[arg-type]
        wish = Wish(
            deploy=config, model="", label=f"phi/{version}", template_hash=version, identity=self.fields["identity"],
            identity_client_id=self.fields["identity_client_id"], code=code,
        )  # fmt: skip
        folder = self.folder / "results" / name
        folder.mkdir(parents=True, exist_ok=True)
        file = held_out(folder / "answers.jsonl", answers) if answers else None
        return azure.deploy(
            wish, online=self.online(name), folder=folder, outputs=self.folder, detached=False, answers=file
        )

    def state(self, name: str) -> dict[str, Any]:
        online = self.online(name)
        endpoint = online.found() or {"properties": {}}
        there = {item["name"]: item["tags"]["phi_runner.fingerprint"] for item in online.deployments()}
        return {"traffic": endpoint["properties"].get("traffic") or {}, "there": there}

    def puts(self, name: str) -> list[str]:
        made = [call["path"] for call in self.site.rig.wire() if call["method"] == "PUT" and call["status"] < 300]
        return [path.rsplit("/", 1)[1] for path in made if f"/onlineEndpoints/{name}/deployments/" in path]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("azure")
    with running(folder / "cloud", operation_s=0.01) as rig, entered(rig):
        here = site(rig, folder, account("blue-green"))
        yield Place(site=here, fields=here.converge(config_of(here.azure.config)), folder=folder)
        assert rig.refused() == []


@contextmanager
def asking(made: Endpoint, *, key: str) -> Iterator[list[int]]:
    """Ask an endpoint all the time; yield the statuses of its answers."""
    statuses: list[int] = []
    end = threading.Event()

    def ask() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            while not end.is_set():
                statuses.append(client.post(made.score_url, json={"input_data": ["Hello"]}).status_code)
                end.wait(0.03)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        end.set()
        thread.join()


def killed_at(place: Place, number: int, *, name: str, code: Path) -> bool:
    """Deploy in a forked child that is killed while it waits for its call of that number; say whether it came there."""
    rig: Rig = place.site.rig
    match = r"management\.azure\.com"  # not the gateway, which somebody asks all the time
    rig.admin("/faults", {"match": match, "after": number, "delay_s": 20.0, "times": 1, "status": 0})
    child = os.fork()
    if not child:
        try:
            place.deploy(name, code)
        finally:
            os._exit(0)
    while not rig.admin("/faults")["value"][0]["injected"]:
        if os.waitpid(child, os.WNOHANG)[0]:
            rig.admin("/clear", {})
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    rig.admin("/clear", {})
    return True


def kill_and_go_on(place: Place, number: int) -> bool:
    """Replace a deployment, killed at a call, and again; say whether the replacement had so many calls."""
    name = f"killed-{number}"
    old, new = place.script("old", answer="Old."), place.script(f"new-{number}", answer="New.")
    made = place.deploy(name, old)
    with asking(made, key=place.online(name).key()) as statuses:
        reached = killed_at(place, number, name=name, code=new)
        after = place.deploy(name, new)
    state = place.state(name)
    assert state["traffic"] == {after.deployment: 100}
    assert list(state["there"]) == [after.deployment]
    assert after.deployment != made.deployment
    assert set(statuses) == {200}, "somebody got no answer"
    assert place.puts(name) == [made.deployment, after.deployment], "a deployment was made twice"
    assert [item.name for item in place.site.ledger.open() if f"/{name}/deployments/" in item.resource] == [
        after.deployment
    ]
    place.site.azure.arm.delete(after.resource, api_version="2024-10-01")  # its cores are wanted again
    return reached


@pytest.mark.parametrize("number", [3, 12, 18, 24])
def test_a_run_killed_at_a_call_is_continued_without_a_gap(place: Place, number: int) -> None:
    assert kill_and_go_on(place, number)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_killed_at_any_call_is_continued_without_a_gap(place: Place) -> None:
    number = 0
    while kill_and_go_on(place, number):
        number += 1
    assert number > 25


PASSING: dict[str, dict[str, Any]] = {
    "name still being given back": {
        "match": "onlineEndpoints/[^/]+$", "method": "PUT", "status": 404, "times": 2, "code": "NotFound",
        "body": {"error": {"code": "UserError", "message": "InferencingClientCallFailed: {'title':'Not Found'}"}},
    },
    "operation lost": {"match": "mfeOperationsStatus", "status": 404, "code": "NotFound", "times": 1},
    "operation on the deployment lost": {"match": "mfeOperationsStatus", "status": 404, "times": 1, "after": 2},
    "answer of the traffic lost": {
        "match": "onlineEndpoints/[^/]+$", "method": "PUT", "mode": "lost", "times": 1, "after": 1
    },
    "answer of the making lost": {"match": "deployments/blue$", "method": "PUT", "mode": "lost", "times": 1},
    "control plane busy": {"match": "onlineEndpoints", "status": 429, "times": 2, "headers": {"Retry-After": "0"}},
    "gateway does not know the deployment yet": {"match": "inference.ml.azure.com", "status": 503, "times": 1},
}  # fmt: skip


@pytest.mark.parametrize("fault", list(PASSING))
def test_what_passes_is_survived(place: Place, fault: str) -> None:
    name, rig = f"passing-{list(PASSING).index(fault)}", place.site.rig
    rig.admin("/faults", PASSING[fault])
    try:
        made = place.deploy(name, place.script("old"))
        assert rig.admin("/faults")["value"][0]["injected"] >= 1
    finally:
        rig.admin("/clear", {})
    assert place.state(name)["traffic"] == {made.deployment: 100}
    assert place.puts(name)[-1:] == [made.deployment]


QUOTA = (
    "OutOfQuota: Not enough cluster CPU quota. The amount of additional CPU quota requested is 8, and you are "
    "currently using 14. Your amount of maximum quota is 20."
)
LASTING: dict[str, tuple[dict[str, Any], str]] = {
    "name taken": (
        {
            "match": "onlineEndpoints/[^/]+$", "method": "PUT", "status": 400, "times": -1, "code": "BadRequest",
            "message": "There is already an endpoint with this name, Endpoint name needs to be unique within a region.",
        },
        r"name is taken in this region: type deploy\.name=ANOTHER",
    ),
    "no cores": (
        {
            "match": "mfeOperationsStatus", "status": 200, "times": 1, "after": 1,
            "body": {"status": "Failed", "error": {"code": "None", "message": QUOTA}},
        },
        r"8 more are needed, 14 of 20 are in use.*nothing served before, and nothing does now",
    ),
    "signed out": (
        {
            "match": "/deployments/blue$", "method": "PUT", "status": 401, "times": -1,
            "code": "ExpiredAuthenticationToken",
        },
        "the sign-in has expired: run `az login` again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(LASTING))
def test_what_lasts_is_one_line_with_the_next_step_and_leaves_nothing_behind(place: Place, fault: str) -> None:
    name, (what, words) = f"lasting-{list(LASTING).index(fault)}", LASTING[fault]
    place.site.rig.admin("/faults", what)
    try:
        with pytest.raises(DeployFailed, match=words) as caught:
            place.deploy(name, place.script("old"))
    finally:
        place.site.rig.admin("/clear", {})
    assert "\n" not in str(caught.value)
    assert place.state(name)["there"] == {}
    place.deploy(name, place.script("old"))  # the same command again ends well


def test_a_container_that_crashes_says_why_and_the_one_before_goes_on(place: Place) -> None:
    made = place.deploy("crash", place.script("old"))
    broken = place.script("broken", begin="raise MemoryError('the model needs 15 GiB')")
    with asking(made, key=place.online("crash").key()) as statuses, pytest.raises(DeployFailed) as caught:
        place.deploy("crash", broken)
    assert "container did not stay up" in str(caught.value)
    assert "MemoryError: the model needs 15 GiB" in str(caught.value)
    assert f"{made.deployment} has the traffic" in str(caught.value)
    assert set(statuses) == {200}
    assert list(place.state("crash")["there"]) == [made.deployment]


def test_traffic_that_cannot_be_moved_stays_where_it_was(place: Place) -> None:
    made = place.deploy("stuck", place.script("old"))
    fault = {"match": "onlineEndpoints/stuck$", "method": "PUT", "status": 400, "times": -1, "message": "no"}
    place.site.rig.admin("/faults", fault)
    try:
        with pytest.raises(DeployFailed, match=f"no.*{made.deployment} has the traffic"):
            place.deploy("stuck", place.script("newer", answer="New."))
    finally:
        place.site.rig.admin("/clear", {})
    assert place.state("stuck")["traffic"] == {made.deployment: 100}
    assert list(place.state("stuck")["there"]) == [made.deployment]


def test_one_that_answers_otherwise_than_it_was_evaluated_is_taken_back(place: Place) -> None:
    name, code = "blue-green-gate", place.script("gate")
    first = place.deploy(name, code, version="1", answers="Paris.")
    assert "blue answers 4 of 4 held-out prompts as the evaluated model did" in place.site.heard.text
    with pytest.raises(DeployFailed, match=r"green answers only 0 of 4 .* deploy\.quality_floor=0\.75.*; blue has the"):
        place.deploy(name, code, version="2", answers="Rome.")
    assert place.state(name)["traffic"] == {first.deployment: 100}


def test_the_version_that_served_before_is_brought_back(place: Place) -> None:
    name, code = "blue-green-back", place.script("back")
    place.deploy(name, code, version="1")
    newest = place.deploy(name, code, version="2")
    back = place.deploy(name, code, version="2", rollback=True)
    assert (newest.model, back.model, back.template_hash) == ("phi/2", "phi/1", "1")
    assert place.state(name)["traffic"] == {"blue": 100}
