"""Fixtures of the flow's tests: an endpoint that answers, and a rendered flow that is connected to it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import AgentFlow, ChatConfig, ChatFlow, PromptFlow, StageName
from phi_runner.events import Events, StageEvents
from phi_runner.flow import agents, render
from phi_runner.flow.connection import Connection, read_key
from phi_runner.flow.promptflow.back_end import PromptFlowBackEnd
from phi_runner.flow.spec import FlowSpec, spec_of
from phi_runner.venvs import EnvironmentNotMade
from tests.flow import standin
from tests.flow.standin import StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A flow folder, its connection, and the endpoint behind it."""

    folder: Path
    outputs: Path
    spec: FlowSpec
    connection: Connection
    standin: StandIn

    @property
    def prompt_flow(self) -> PromptFlowBackEnd:
        """What runs it."""
        return PromptFlowBackEnd(connection=self.connection, outputs=self.outputs)


def connection_to(endpoint: Endpoint) -> Connection:
    """Return the way to an endpoint on this machine."""
    file = Path(endpoint.key_file)
    return Connection(name="phi-endpoint", endpoint=endpoint.score_url, key=read_key(file), key_file=file)


def make_rig(outputs: Path, running: StandIn, flow: ChatFlow | None = None) -> Rig:
    """Render a flow, the default Prompt flow unless another is given, in front of a stand-in."""
    spec = spec_of(flow or PromptFlow(), chat=ChatConfig(), endpoint=running.endpoint)
    folder = outputs / "flows" / spec.name
    render.render(spec, folder=folder)
    return Rig(folder=folder, outputs=outputs, spec=spec, connection=connection_to(running.endpoint), standin=running)


@pytest.fixture(scope="session")
def agent_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with Agent Framework: the one that a variable names, or one of an environment made now."""
    given = os.environ.get("PHI_RUNNER_AGENT_PYTHON")
    if given:
        return given
    outputs = tmp_path_factory.mktemp("agent")
    try:
        return agents.interpreter(AgentFlow(), outputs=outputs, events=StageEvents(Events(), StageName.flow))
    except EnvironmentNotMade as err:
        pytest.skip(str(err))


WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[1] if event == "socket.connect" else arguments[0]
        host = place[0] if isinstance(place, tuple) else place
        if host not in (None, "", "127.0.0.1", "localhost", "::1") and not str(host).startswith("/"):
            with open({file!r}, "a") as calls:
                calls.write(event + " " + str(place) + chr(10))
sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def calls_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in which every child process that starts from now on notes whom it calls beyond this machine."""
    folder = tmp_path_factory.mktemp("watch")
    file = folder / "calls.txt"
    file.touch()
    (folder / "sitecustomize.py").write_text(WATCH.format(file=str(file)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield file


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in endpoint."""
    with standin.running(tmp_path) as running:
        yield running


@pytest.fixture
def rig(tmp_path: Path, endpoint: StandIn) -> Rig:
    """A flow in front of a stand-in endpoint."""
    return make_rig(tmp_path, endpoint)


BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def without(*names: str, folder: Path) -> dict[str, str]:
    """Return an environment in which Python processes find none of these packages."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK.format(names=set(names)), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}
