"""Fixtures of the flow's tests: an endpoint that answers, and a rendered flow that is connected to it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi_runner.config.schema import ChatConfig, PromptFlow
from phi_runner.flow import pf, render
from tests.flow import standin
from tests.flow.standin import StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A flow folder, its connection, and the endpoint behind it."""

    folder: Path
    outputs: Path
    connection: pf.Connection
    standin: StandIn


def make_rig(outputs: Path, running: StandIn) -> Rig:
    """Render the default flow in front of a stand-in."""
    folder = outputs / "flows" / "chat-with-phi"
    render.render(PromptFlow(), chat=ChatConfig(), folder=folder)
    endpoint = running.endpoint
    file = Path(endpoint.key_file)
    connection = pf.Connection(name="phi-endpoint", endpoint=endpoint.score_url, key=pf.read_key(file), key_file=file)
    return Rig(folder=folder, outputs=outputs, connection=connection, standin=running)


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
