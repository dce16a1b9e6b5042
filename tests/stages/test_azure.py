"""Stages deploy and flow in the emulated Azure: blue, green, back again, and the project's connection."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Endpoint, Flow, Registered, Workspace
from phi_runner.azureml import registry
from phi_runner.config.schema import AzureDeploy, ChatConfig, ChatUi, FoundryFlow, LocalDeploy, RunConfig, StageName
from phi_runner.errors import DeployFailed
from phi_runner.ledger import Ledger
from phi_runner.stages import chat, deploy, endpoints, flow, infra
from phi_runner.stages.stage import Inputs
from phi_runner.template import template_hash
from tests import runs
from tests.azureml.score.saved import mlflow_folder
from tests.azureml.workspace import Cloud, ready
from tests.tiny import make_model_folder

pytestmark = pytest.mark.filterwarnings("ignore")
FAST = {"step_s": 0.0, "bake_s": 0.0}
CHANGED = {"max_new_tokens": 7}
"""What the second deployment differs in; the tests after it keep it, for a container takes seconds to come up."""


@dataclass(kw_only=True)
class Site:
    """An emulated cloud with a registered model, and what the stage said there."""

    cloud: Cloud
    workspace: Workspace
    registered: Registered
    folder: Path
    heard: list[runs.Heard] = field(default_factory=list)

    @property
    def outputs(self) -> Path:
        return Path(self.cloud.config.outputs)

    def config(self, **values: Any) -> RunConfig:
        stages = [StageName.infra, StageName.register, StageName.deploy]
        return replace(self.cloud.config, deploy=AzureDeploy(**(FAST | values)), stages=stages)

    def run(self, registered: Registered | None = None, **values: Any) -> Endpoint:
        config = self.config(**values)
        folder = self.folder / f"run{len(self.heard)}"
        rundir, heard = runs.rundir(folder, outputs=self.outputs, stage="deploy")
        self.heard.append(heard)
        inputs = Inputs({StageName.register: registered or self.registered, StageName.infra: self.workspace}, {})
        made = deploy.STAGE.run(config, inputs, rundir)
        assert isinstance(made, Endpoint)
        artifacts.save(made)
        return made

    def key(self, made: Endpoint) -> str:
        events = runs.rundir(self.folder / "key", outputs=self.folder)[0].events
        return endpoints.endpoint_key(self.config(), made, outputs=self.folder, events=events)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("azure")
    with ready(folder / "base") as cloud:
        plain = make_model_folder(folder / "plain")
        tags = {"phi_runner.register_key": "k"}
        version = registry.register(
            cloud.azure, name="phi", place=str(mlflow_folder(plain, folder=folder / "mlflow")), tags=tags
        )
        registered = Registered(
            folder=folder, name="phi", version=version, alias="champion", tracking_uri="", source="",
            template_hash=template_hash(plain), asset=cloud.azure.ids.model("phi", version=version),
        )  # fmt: skip
        rundir, _heard = runs.rundir(folder / "infra", outputs=Path(cloud.config.outputs), stage="infra")
        workspace = infra.STAGE.run(cloud.config, Inputs({}, {}), rundir)
        assert isinstance(workspace, Workspace)
        yield Site(cloud=cloud, workspace=workspace, registered=registered, folder=folder)


def test_the_first_deployment_serves_with_the_tutorials_settings_and_is_kept(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(site.cloud.rig.wire())
    made = site.run()
    assert (made.deployment, made.chat_form, made.key_file, made.model) == ("blue", True, "", "phi/1")
    assert made.score_url == f"https://{made.name}.eastus2.inference.ml.azure.com/score"
    [endpoint] = {call["path"]: call for call in site.cloud.puts(f"/onlineEndpoints/{made.name}$")[:1]}.values()
    assert endpoint["request"]["identity"]["type"] == "UserAssigned"
    assert list(endpoint["request"]["identity"]["userAssignedIdentities"]) == [site.workspace.identity]
    assert endpoint["request"]["properties"]["authMode"].lower() == "key"
    [put] = site.cloud.puts("/deployments/blue$")
    check_settings(put["request"], site)
    assert capfd.readouterr() == ("", "")
    planned = [entry for entry in Ledger(site.outputs).open() if entry.kind in ("endpoint", "deployment")]
    assert [(entry.kind, entry.step, entry.usd_per_hour) for entry in planned] == [
        ("deployment", "made", 0.252), ("endpoint", "made", 0.0)
    ]  # fmt: skip
    again = site.run(shift=[100], bake_s=99.0)  # how the traffic moves changes nothing that serves
    assert again.deployment == "blue"
    assert "blue already serves this model with these settings" in site.heard[-1].text()
    assert len(site.cloud.puts("/onlineEndpoints/.*/deployments/")) == 1
    assert len(site.cloud.rig.wire()) > before


def check_settings(request: dict[str, Any], site: Site) -> None:
    properties = request["properties"]
    assert request["sku"] == {"name": "Default", "capacity": 1}
    assert properties["model"] == site.registered.asset
    assert properties["instanceType"] == "Standard_E4s_v3"
    assert properties["requestSettings"] == {
        "maxConcurrentRequestsPerInstance": 3, "requestTimeout": "PT3M", "maxQueueWait": "PT2M"
    }  # fmt: skip
    for probe in ("livenessProbe", "readinessProbe"):
        values = {"failureThreshold": 30, "successThreshold": 1, "period": "PT1M40S", "initialDelay": "PT8M20S"}
        assert properties[probe].items() >= values.items()
    azure = site.cloud.config.azure
    assert properties["environmentVariables"].items() >= {
        "SUBSCRIPTION_ID": azure.subscription, "RESOURCE_GROUP_NAME": azure.resource_group,
        "UAI_CLIENT_ID": site.workspace.identity_client_id, "PHI_RUNNER_TEMPLATE_HASH": site.registered.template_hash,
    }.items()  # fmt: skip
    assert properties["codeConfiguration"]["scoringScript"] == "score.py"


def test_green_takes_over_while_somebody_asks_all_the_time(site: Site) -> None:
    made = site.run()
    with Asking(made, key=site.key(made)) as asking:
        new = site.run(**CHANGED)
    assert new.deployment != made.deployment
    assert asking.statuses == {200: asking.count}
    assert asking.count > 3
    assert [item["name"] for item in online(site, new).deployments()] == [new.deployment]
    chosen = site.config(**CHANGED)
    assert deploy.STAGE.still_true(chosen, new, site.outputs) == ""
    assert deploy.STAGE.still_true(chosen, made, site.outputs) == f"{made.deployment} does not have all the traffic"
    other = replace(chosen, azure=replace(chosen.azure, workspace="another"))
    assert deploy.STAGE.still_true(other, new, site.outputs) == "it is an endpoint of another workspace"
    local = replace(chosen, deploy=LocalDeploy(), stages=[StageName.chat])
    assert deploy.STAGE.still_true(local, new, site.outputs).startswith("it asks an endpoint in Azure, and this run")


def test_a_model_that_does_not_come_up_changes_nothing_and_is_gone(site: Site) -> None:
    made = site.run(**CHANGED)
    broken = replace(site.registered, template_hash="0" * 64)
    with Asking(made, key=site.key(made)) as asking, pytest.raises(DeployFailed) as caught:
        site.run(broken, **CHANGED)
    said = str(caught.value)
    assert "another chat template" in said
    assert f"{made.deployment} has the traffic" in said
    assert "\n" not in said
    assert asking.statuses == {200: asking.count}
    assert [item["name"] for item in online(site, made).deployments()] == [made.deployment]
    assert [entry.name for entry in Ledger(site.outputs).open() if entry.kind == "deployment"] == [made.deployment]
    [log] = (site.outputs / "logs").glob(f"azure-{made.name}-*.log")
    assert "DeployFailed" in log.read_text()


def test_an_endpoint_of_somebody_else_is_left_alone(site: Site) -> None:
    azure = site.cloud.azure
    resource = azure.ids.endpoint("somebody-elses")
    body = {"location": "eastus2", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key"}}
    azure.arm.put(resource, body, api_version="2024-10-01")
    calls = len(site.cloud.rig.wire())
    with pytest.raises(DeployFailed, match=r"not made by phi_runner and is left alone: type deploy\.name=ANOTHER"):
        site.run(name="somebody-elses")
    assert {call["method"] for call in site.cloud.rig.wire()[calls:] if "somebody-elses" in call["path"]} == {"GET"}


def test_no_key_lies_in_the_outputs_or_was_said(site: Site) -> None:
    key = site.key(site.run(**CHANGED))
    files = [file for file in site.outputs.rglob("*") if file.is_file()]
    assert not [file for file in files if key.encode() in file.read_bytes()]
    assert not [heard for heard in site.heard if key in heard.text()]
    assert key not in "".join(str(call) for call in site.cloud.rig.wire())


def online(site: Site, made: Endpoint) -> Any:
    return endpoints.online(site.config(), name=made.name, outputs=site.outputs)


class Asking:
    """Asks an endpoint one question after the other during a block, as a user would."""

    def __init__(self, made: Endpoint, *, key: str) -> None:
        self._made, self._key, self._end = made, key, threading.Event()
        self.statuses: dict[int, int] = {}
        self._thread = threading.Thread(target=self._ask)

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        body = {"input_data": ["Hello"], "params": {"max_new_tokens": 2}}
        with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=60) as client:
            while not self._end.is_set():
                status = client.post(self._made.score_url, json=body).status_code
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self._end.wait(0.1)


def test_a_person_talks_through_score_where_there_is_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = site.run(**CHANGED)
    terminal = ChatConfig(ui=ChatUi.terminal, max_new_tokens=4)
    config = replace(site.config(**CHANGED), stages=[StageName.chat], chat=terminal)
    rundir, _heard = runs.rundir(site.folder / "chat", outputs=site.outputs, stage="chat")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who founded Microsoft?\n"))
    assert chat.STAGE.run(config, Inputs({StageName.deploy: made}, {}), rundir) is None
    assert capsys.readouterr().out.strip()


PROVIDER = """
import json, sys
from promptflow.core._connection_provider._workspace_connection_provider import WorkspaceConnectionProvider
found = WorkspaceConnectionProvider(*sys.argv[1:4]).get("phi-endpoint")
print(json.dumps({"kind": type(found).__name__, "configs": found.configs, "secrets": dict(found.secrets)}))
"""


def test_the_foundry_flow_asks_through_the_connection_that_its_project_holds(site: Site) -> None:
    made = site.run(**CHANGED)
    config = replace(site.config(**CHANGED), flow=FoundryFlow(), stages=[StageName.flow])
    rundir, heard = runs.rundir(site.folder / "flow", outputs=site.outputs, stage="flow")
    result = flow.STAGE.run(config, Inputs({StageName.deploy: made}, {}), rundir)
    assert isinstance(result, Flow)
    assert result.answer.strip()
    assert site.key(made) not in heard.text()
    assert flow.STAGE.still_true(config, result, site.outputs) == ""

    [put] = site.cloud.puts("/connections/phi-endpoint$")
    properties = put["request"]["properties"]
    assert "finetunephi-project/connections" in put["path"]
    assert (properties["category"], properties["authType"]) == ("CustomKeys", "CustomKeys")
    assert sorted(properties["credentials"]["keys"]) == ["endpoint", "key"]
    names = ("azureml.flow.connection_type", "azureml.flow.module")
    assert [properties["metadata"][name] for name in names] == ["Custom", "promptflow.connections"]
    kinds = {entry.kind: entry.name for entry in Ledger(site.outputs).open()}
    assert (kinds["hub"], kinds["project"], kinds["connection"]) == (
        "finetunephi-hub", "finetunephi-project", "phi-endpoint"
    )  # fmt: skip
    check_hub_and_project(site)
    check_promptflow_reads_it(site, made)
    again = flow.STAGE.run(config, Inputs({StageName.deploy: made}, {}), rundir)
    assert isinstance(again, Flow)
    assert len(site.cloud.puts("/connections/phi-endpoint$")) == 1
    assert len(site.cloud.puts("/data/chat-with-phi/versions/")) == 1
    assert site.cloud.rig.refused() == []


def check_hub_and_project(site: Site) -> None:
    """The hub takes the workspace's services instead of new ones; no value is one that the templates do not allow."""
    puts = [call["request"]["properties"] for call in site.cloud.puts("/Microsoft.Resources/deployments/")]
    made = {body["parameters"]["kind"]["value"]: body for body in puts}
    hub = {name: item["value"] for name, item in made["hub"]["parameters"].items()}
    assert [hub[f"{name}Option"] for name in ("storageAccount", "keyVault", "containerRegistry")] == ["existing"] * 3
    assert hub["storageAccountName"] == site.workspace.storage.rsplit("/", 1)[1]
    for body in made.values():
        for name, item in body["parameters"].items():
            allowed = body["template"]["parameters"][name].get("allowedValues")
            assert allowed is None or item["value"] in (None, *allowed), (name, item)


def check_promptflow_reads_it(site: Site, made: Endpoint) -> None:
    azure = site.cloud.config.azure
    done = subprocess.run(
        [sys.executable, "-c", PROVIDER, azure.subscription, azure.resource_group, azure.project],
        capture_output=True, text=True, check=False, cwd=site.folder,
        env=os.environ
        | {"PF_HOME_DIRECTORY": str(site.folder / "pf"), "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read == {
        "kind": "CustomConnection",
        "configs": {},
        "secrets": {"endpoint": made.score_url, "key": site.key(made)},
    }
