"""The interpreter that runs the agent: Agent Framework's OpenTelemetry cannot live beside Prompt flow's."""

import subprocess
from pathlib import Path

from phi_runner import venvs
from phi_runner.config.schema import AgentFlow
from phi_runner.errors import FlowFailed
from phi_runner.events import StageEvents
from phi_runner.flow import render

_ASK_VERSION = "from importlib.metadata import version; print(version('agent-framework-core'))"


def interpreter(flow: AgentFlow, *, outputs: Path, events: StageEvents) -> str:
    """Return the Python that `flow.python` names, or one of an environment that is made once; raises FlowFailed."""
    needed = render.requirements(flow.kind)
    if not flow.python:
        made = venvs.ensure(
            flow.kind, requirements=needed, home=outputs / "environments", option="flow.python", events=events
        )
        return str(made)
    python = str(Path(flow.python).expanduser())
    install = f"{python} -m pip install {' '.join(repr(item) for item in needed)}, or leave flow.python empty"
    try:
        asked = subprocess.run(  # noqa: S603 - the interpreter that the user names
            [python, "-c", _ASK_VERSION], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError as err:
        problem = f"flow.python={flow.python} cannot be started ({err.strerror})"
        raise FlowFailed(f"{problem}: type the path of a Python, or leave it empty") from err
    version = asked.stdout.strip()
    if asked.returncode or int(version.partition(".")[0]) < 1:
        raise FlowFailed(f"flow.python={flow.python} has no Agent Framework of version 1 or later: type {install}")
    return python
