"""The flow as plain files and an interpreter: asked and served by its own `flow.py` and `serve.py`."""

import importlib.util
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from phi_runner import tether
from phi_runner.errors import FlowFailed
from phi_runner.flow.back_end import Answer, Server
from phi_runner.flow.child import Child
from phi_runner.flow.connection import Connection
from phi_runner.flow.spec import FlowSpec

LONGEST_S = 330.0
"""The endpoint's longest answer, and the time that imports take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptBackEnd:
    """Plain Python or an agent; the key reaches it through its environment, or the name of the file that holds it."""

    python: str
    spec: FlowSpec
    connection: Connection
    outputs: Path

    def ask(self, folder: Path, question: str, *, timeout_s: float = LONGEST_S) -> Answer:
        """Run `flow.py` with a question, as a person would; raises FlowFailed with its last words."""
        begun = time.perf_counter()
        log = self.outputs / "logs" / "flow-test.log"
        try:
            command = [*self._command(folder / "flow.py"), question.replace("\0", "")]
            child = Child(command, log=log, environment=self._environment())
            text = child.exchange("", timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            raise FlowFailed(f"the flow in {folder} gave no answer within {timeout_s:.0f} s; see {log}") from None
        except OSError as err:
            raise FlowFailed(f"the flow's interpreter {self.python} cannot be started: {err.strerror}") from err
        if child.exit_code:
            raise FlowFailed(f"the flow failed: {child.last_words() or f'exit code {child.exit_code}'}; see {log}")
        return Answer(text=text.removesuffix("\n"), call_s=time.perf_counter() - begun)

    def server(self, folder: Path) -> Server:
        """Return how to serve the flow in `folder`; raises FlowFailed."""
        if not (folder / "serve.py").is_file():
            raise FlowFailed(f"there is no flow in {folder}: render it with stages=[flow]")
        lacking = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
        if lacking and self.python == sys.executable:
            raise FlowFailed(f"serving the flow needs {' and '.join(lacking)}: pip install 'phi-runner[serve]'")
        return Server(command=self._command(folder / "serve.py"), environment=self._environment())

    def _command(self, script: Path) -> list[str]:
        return [self.python, tether.__file__, str(script.resolve())]

    def _environment(self) -> dict[str, str]:
        prefix, given = self.spec.environment, self.connection
        key = {f"{prefix}_KEY_FILE": str(given.key_file.resolve())} if given.key_file else {f"{prefix}_KEY": given.key}
        return {f"{prefix}_URL": given.endpoint, "PYTHONDONTWRITEBYTECODE": "1", **key}
