"""The interpreter of the agent: one that is named must have Agent Framework, and none is made without a network."""

import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner.config.schema import AgentFlow, StageName
from phi_runner.errors import FlowFailed
from phi_runner.events import Events, StageEvents
from phi_runner.flow import agents, render
from phi_runner.venvs import EnvironmentNotMade

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


def test_environment_that_cannot_be_made_is_one_line_that_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(EnvironmentNotMade, match=r"with a network, type .* then flow\.python=") as failed:
        interpreter("", tmp_path)
    assert "\n" not in str(failed.value)


@pytest.mark.slow
def test_requirements_of_the_agent_are_installed_without_prompt_flow(agent_python: str):
    names = [item.partition(">")[0] for item in render.requirements("agent_framework")]
    asked = f"from importlib.metadata import version; print([version(name) for name in {names!r}])"
    done = subprocess.run([agent_python, "-c", asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
