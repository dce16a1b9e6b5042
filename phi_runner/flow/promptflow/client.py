"""Prompt flow in this process: its settings, a connection without a keyring, one test question, the serving app.

Its functions run in child processes: Prompt flow changes the working folder, the logging and the tracing of its whole
process, prints what it does, and takes seconds to import. `prepare` comes first: the settings are read at import.
"""

import importlib
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.errors import FlowFailed
from phi_runner.flow.connection import Connection

if TYPE_CHECKING:
    from fastapi import FastAPI

_SETTINGS = """telemetry: {enabled: false}
trace: {destination: none}
connection: {provider: local}
"""
_NEVER = "9999-01-01 00:00:00.000000"
_VERSION_CHECK = {"last_check_time": _NEVER, "last_hint_time": _NEVER}
"""What Prompt flow remembers of its last look at PyPI: with this, it never looks."""
_LOOPBACK = "127.0.0.1,localhost,::1"


def missing(*modules: str) -> str:
    """Say what to install when Prompt flow or one of `modules` is not there, or nothing; imports none of them."""
    absent = [name for name in ("promptflow", *modules) if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"the flow needs {' and '.join(absent)}: pip install 'phi-runner[flow,serve]', or choose flow=plain"


def prepare(home: Path) -> None:
    """Keep Prompt flow's state in `home`, let it call nobody, and keep proxies out of the way of loopback."""
    home.mkdir(parents=True, exist_ok=True)
    for name, text in (("pf.yaml", _SETTINGS), ("pf_version_check.json", json.dumps(_VERSION_CHECK))):
        aside = home / f"{name}.{os.getpid()}.tmp"
        aside.write_text(text, encoding="utf-8")
        aside.replace(home / name)
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy", "")
    os.environ |= {
        "PF_HOME_DIRECTORY": str(home),
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",  # its exporter asks settings.sdk.monitor.azure.com
        "PF_LOGGING_LEVEL": "WARNING",
        "NO_PROXY": f"{no_proxy},{_LOOPBACK}".lstrip(","),
    }


def load() -> None:
    """Import what `ask` needs, ahead of time."""
    importlib.import_module("promptflow.client")


def _custom_connection(connection: Connection) -> Any:
    from promptflow.entities import CustomConnection

    class Injected(CustomConnection):  # type: ignore[misc, unused-ignore]
        """A connection that never was in Prompt flow's database, so no keyring is asked for its key."""

        def to_execution_connection_dict(self) -> Any:
            """Answer to the name that the serving app calls; Prompt flow 1.18.5 has it with an underscore only."""
            return {**self._to_execution_connection_dict(), "type": "CustomConnection"}

    return Injected(name=connection.name, configs={"endpoint": connection.endpoint}, secrets={"key": connection.key})


@contextmanager
def connected(connection: Connection) -> Iterator[None]:
    """Let every Prompt flow client of this process find one connection by its name, and none in its database.

    That one would need a system keyring, which a headless machine does not have. A batch run makes clients of its own,
    so the class has to know.
    """
    from promptflow.client import PFClient

    given = _custom_connection(connection)

    class Connections:
        """Prompt flow's connection store, holding one."""

        def get(self, name: str, **_with_secrets: bool) -> Any:
            if name != connection.name:
                raise FlowFailed(f"the flow uses connection {name!r}, not {connection.name!r}")
            return given

    before = PFClient.connections
    PFClient.connections = property(lambda _client: Connections())
    try:
        yield
    finally:
        PFClient.connections = before


def ask(folder: Path, *, connection: Connection, question: str, log_folder: Path) -> str:
    """Ask the flow one question as `pf flow test` does, through the client; raises FlowFailed with the node's words."""
    from promptflow.client import PFClient
    from promptflow.exceptions import PromptflowException

    try:
        with connected(connection):
            outputs = PFClient().flows.test(
                flow=folder, inputs={"input_data": question}, output_path=log_folder, stream_log=False
            )
        return "".join(outputs["answer"])  # the pieces, or in a flow that someone has changed the whole text
    except PromptflowException as err:
        raise FlowFailed(words(str(err))) from err
    except RuntimeError as err:  # what the node says when the endpoint breaks off
        raise FlowFailed(str(err)) from err


def words(text: str) -> str:
    """Return what the node said, without Prompt flow's wrapping, in one line."""
    line = " ".join(text.split())
    return line.partition("(EndpointFailed) ")[2] or line


def app(folder: Path, *, connection: Connection) -> "FastAPI":
    """Return Prompt flow's own serving app, page and API, for the flow in `folder`; changes the working folder."""
    from promptflow.core._serving.app import create_app
    from starlette.middleware.cors import CORSMiddleware

    os.chdir(folder)
    os.environ["PROMPTFLOW_PROJECT_PATH"] = str(folder)
    given = _custom_connection(connection)
    # fastapi: the page of the default engine, flask, answers 400 (a missing import in Prompt flow 1.18.5)
    served: FastAPI = create_app(engine="fastapi", connection_provider=lambda: [given])
    # no page of another origin may talk to a model that this machine serves without a key
    cross_origin: object = CORSMiddleware
    served.user_middleware = [item for item in served.user_middleware if item.cls is not cross_origin]
    return served
