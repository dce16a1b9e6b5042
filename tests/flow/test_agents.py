"""The interpreter of the agent: one that is named must have Agent Framework, and none is made without a network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from phi_runner.config.schema import AgentFlow, StageName
from phi_runner.errors import FlowFailed
from phi_runner.events import Events, StageEvents
from phi_runner.flow import agents, render
from phi_runner.flow.script import ScriptBackEnd
from phi_runner.venvs import EnvironmentNotMade
from tests.flow.conftest import make_rig
from tests.flow.standin import StandIn

EVENTS = StageEvents(Events(), StageName.flow)


def interpreter(python: str, outputs: Path) -> str:
    return agents.interpreter(AgentFlow(python=python), outputs=outputs, events=EVENTS)


def test_interpreter_that_is_none_is_named(tmp_path: Path):
    with pytest.raises(FlowFailed, match=r"flow\.python=/no/python cannot be started \(No such file or directory\)"):
        interpreter("/no/python", tmp_path)


def test_interpreter_without_agent_framework_is_told_what_to_install(tmp_path: Path):
    with pytest.raises(FlowFailed, match=r"has no Agent Framework .* -m pip install 'agent-framework-core>=") as failed:
        interpreter(sys.executable, tmp_path)
    assert "\n" not in str(failed.value)


def test_environment_that_cannot_be_made_is_one_line_that_says_what_to_type(tmp_path: Path):
    (tmp_path / "environments").write_text("in the way", encoding="utf-8")
    with pytest.raises(EnvironmentNotMade, match=r"cannot write .*/environments/.*type outputs=FOLDER"):
        interpreter("", tmp_path)


@pytest.mark.slow
def test_requirements_of_the_agent_are_installed_without_prompt_flow(agent_python: str):
    names = [item.partition(">")[0] for item in render.requirements("agent_framework")]
    asked = f"from importlib.metadata import version; print([version(name) for name in {names!r}])"
    done = subprocess.run([agent_python, "-c", asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("chat_form", [True, False])
def test_agent_reaches_an_endpoint_that_has_score_alone_and_nobody_else(
    tmp_path: Path, endpoint: StandIn, agent_python: str, calls_out: Path, chat_form: bool
):
    rig = make_rig(tmp_path, endpoint, AgentFlow())
    spec = replace(rig.spec, manner=replace(rig.spec.manner, chat_form=chat_form, streams=False))
    render.render(spec, folder=rig.folder)
    made = ScriptBackEnd(python=agent_python, spec=spec, connection=rig.connection, outputs=tmp_path)
    assert made.ask(rig.folder, "Hello?").text == "Hello? [0 before]"
    (body,) = endpoint.behaviour.bodies
    parameters = {"temperature": 0.0, "max_new_tokens": 128}
    dialogue = {"input_string": [{"role": "user", "content": "Hello?"}], "parameters": parameters}
    assert body["input_data"] == (dialogue if chat_form else ["Hello?"])
    endpoint.behaviour.status = 429
    with pytest.raises(FlowFailed, match="/score answered 429: the endpoint is busy, ask again in a moment"):
        made.ask(rig.folder, "Hello?")
    assert calls_out.read_text() == ""
