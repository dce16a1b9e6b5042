"""The flow folder: what it says, what it must not hold, and that it works with plain Prompt flow."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import AgentFlow, ChatConfig, ChatFlow, PlainFlow, PromptFlow
from phi_runner.errors import FlowFailed
from phi_runner.flow import render
from phi_runner.flow.spec import FlowSpec, spec_of
from tests.flow.conftest import Rig
from tests.flow.standin import KEY

ENDPOINT = Endpoint(
    folder=Path(), name="phi-endpoint", url="http://127.0.0.1:1", key_file="", pid=0, model="phi/1", template_hash="0",
    detached=False,
)  # fmt: skip


def spec(flow: ChatFlow | None = None, chat: ChatConfig | None = None) -> FlowSpec:
    return spec_of(flow or PromptFlow(), chat=chat or ChatConfig(), endpoint=ENDPOINT)


def dag(flow: PromptFlow, chat: ChatConfig | None = None) -> dict:
    return yaml.safe_load(render.texts(spec(flow, chat))["flow.dag.yaml"])


def test_flow_is_a_chat_flow_with_the_tutorials_names():
    made = dag(PromptFlow())
    assert made["inputs"]["input_data"] == {
        "type": "string",
        "default": "Who founded Microsoft?",
        "is_chat_input": True,
    }
    assert made["inputs"]["chat_history"] == {"type": "list", "default": [], "is_chat_history": True}
    assert made["outputs"]["answer"]["is_chat_output"] is True
    (node,) = made["nodes"]
    assert node["name"] == "integrate_with_promptflow"
    assert node["source"] == {"type": "code", "path": "integrate_with_promptflow.py"}
    assert node["inputs"]["connection"] == "phi-endpoint"


def test_how_answers_are_made_comes_from_the_chat_settings():
    inputs = dag(PromptFlow(), ChatConfig(temperature=0.5, max_new_tokens=7))["nodes"][0]["inputs"]
    assert (inputs["temperature"], inputs["max_new_tokens"]) == (0.5, 7)


@given(question=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_question_survives_the_yaml(question: str):
    assert dag(PromptFlow(question=question))["inputs"]["input_data"]["default"] == question


@pytest.mark.parametrize("flow", [PromptFlow(batch_rows=1), PlainFlow(), AgentFlow()])
def test_folder_holds_no_address_no_secret_and_no_phi_runner_import(flow: ChatFlow):
    texts = render.texts(spec(flow))
    everything = "".join(texts.values())
    assert KEY not in everything
    assert "://" not in everything
    assert not re.search(r"\{\{\w+\}\}", everything)
    assert not re.search(r"(import|from) phi_runner", everything)
    assert ".promptflow/" in texts[".gitignore"]


def test_every_kind_has_the_one_way_to_the_endpoint_and_the_settings_of_the_one_spec():
    kinds = [render.texts(spec(flow)) for flow in (PromptFlow(), PlainFlow(), AgentFlow())]
    assert len({texts["endpoint.py"] for texts in kinds}) == 1
    asked = dag(PromptFlow())["nodes"][0]["inputs"]
    for texts in kinds[1:]:
        assert texts["serve.py"] == kinds[1]["serve.py"]
        settings = json.loads(texts["flow.json"])
        assert settings["manner"].items() <= asked.items()
        assert (settings["question"], settings["environment"]) == ("Who founded Microsoft?", "PHI_ENDPOINT")


def test_endpoint_in_azure_is_asked_without_streaming():
    azure = replace(ENDPOINT, resource="/subscriptions/1/x", chat_form=False)
    manner = spec_of(PlainFlow(), chat=ChatConfig(), endpoint=azure).manner
    assert (manner.streams, manner.chat_form) == (False, False)


def test_flow_of_another_kind_leaves_nothing_behind_but_what_was_edited(tmp_path: Path):
    render.render(spec(PromptFlow(batch_rows=1)), folder=tmp_path)
    (tmp_path / "connection.yaml").write_text("mine\n", encoding="utf-8")
    assert render.render(spec(PlainFlow()), folder=tmp_path) == []
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {*render.texts(spec(PlainFlow())), ".written.json", "connection.yaml"}


def test_pinned_promptflow_is_the_one_that_the_extra_installs():
    wanted = [line for line in importlib.metadata.requires("phi-runner") or [] if line.startswith("promptflow==")]
    pin = wanted[0].partition(";")[0].strip()
    assert pin in render.texts(spec())["requirements.txt"].splitlines()


def test_agent_needs_what_the_extra_installs_which_cannot_be_beside_prompt_flow():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extra = project["project"]["optional-dependencies"]["agent_framework"]
    assert {item for item in extra if item.startswith("agent-framework")} < set(render.requirements("agent_framework"))
    assert project["tool"]["uv"]["conflicts"] == [[{"extra": "flow"}, {"extra": "agent_framework"}]]


def test_edited_file_is_kept_beside_the_new_one(tmp_path: Path):
    assert render.render(spec(), folder=tmp_path) == []
    node = tmp_path / "integrate_with_promptflow.py"
    node.write_text("# mine\n", encoding="utf-8")
    assert render.render(spec(), folder=tmp_path) == [node.name]
    assert (tmp_path / f"{node.name}.edited").read_text(encoding="utf-8") == "# mine\n"
    assert node.read_text(encoding="utf-8") != "# mine\n"


def test_a_changed_config_alone_keeps_nothing_aside(tmp_path: Path):
    render.render(spec(), folder=tmp_path)
    assert not render.is_current(spec(PromptFlow(question="Why?")), folder=tmp_path)
    assert render.render(spec(PromptFlow(question="Why?")), folder=tmp_path) == []
    assert render.is_current(spec(PromptFlow(question="Why?")), folder=tmp_path)
    assert not list(tmp_path.glob("*.edited"))


def test_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FlowFailed, match=r"the flow folder .*file/flow cannot be written: Not a directory"):
        render.render(spec(), folder=tmp_path / "file" / "flow")


KEYRING = """
import json, os, keyring.backend
FILE = os.environ["TEST_KEYRING_FILE"]
class Keyring(keyring.backend.KeyringBackend):
    priority = 1
    def _all(self): return json.load(open(FILE)) if os.path.exists(FILE) else {}
    def get_password(self, service, user): return self._all().get(service + user)
    def set_password(self, service, user, value): json.dump(self._all() | {service + user: value}, open(FILE, "w"))
"""


def test_folder_works_with_plain_pf_and_a_connection_made_by_hand(rig: Rig, tmp_path: Path):
    """What the folder's README says, with the `pf` command alone; the keyring is a file, for machines without one."""
    (tmp_path / "file_keyring.py").write_text(KEYRING, encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    (home / "pf.yaml").write_text("telemetry: {enabled: false}\ntrace: {destination: none}\n", encoding="utf-8")
    never = "9999-01-01 00:00:00.000000"
    (home / "pf_version_check.json").write_text(json.dumps({"last_check_time": never, "last_hint_time": never}))
    environment = os.environ | {
        "PF_HOME_DIRECTORY": str(home), "PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "file_keyring.Keyring",
        "TEST_KEYRING_FILE": str(tmp_path / "keys.json"), "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    }  # fmt: skip

    def pf(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "promptflow._cli._pf.entry", *arguments],
            cwd=rig.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    secrets = [f"configs.endpoint={rig.connection.endpoint}", f"secrets.key={KEY}"]
    pf("connection", "create", "--file", "connection.yaml", "--set", *secrets)
    out = pf("flow", "test", "--flow", ".", "--inputs", "input_data=Who founded Microsoft?")
    assert json.loads(out[out.rindex("{") :])["answer"] == "Who founded Microsoft? [0 before]"
