"""The flow as a Prompt flow DAG: asked through its client, served by its own app, each in a process of its own."""

import sys
from dataclasses import dataclass
from pathlib import Path

from phi_runner.errors import FlowFailed
from phi_runner.flow.back_end import Answer, Server
from phi_runner.flow.connection import Connection
from phi_runner.flow.promptflow import client, process, serving

LONGEST_S = 330.0
"""The endpoint's longest answer, and Prompt flow's own time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFlowBackEnd:
    """Prompt flow, its state below `outputs`."""

    connection: Connection
    outputs: Path

    def ask(self, folder: Path, question: str, *, timeout_s: float = LONGEST_S) -> Answer:
        """Ask the flow in `folder` through the Prompt flow client; raises FlowFailed with what went wrong."""
        asked = {"folder": str(folder), "question": question}
        reply = process.request(asked, connection=self.connection, outputs=self.outputs, timeout_s=timeout_s)
        return Answer(**reply)

    def server(self, folder: Path) -> Server:
        """Return how to serve page and API of the flow in `folder`; raises FlowFailed."""
        lacking = client.missing("fastapi", "uvicorn")
        if lacking:
            raise FlowFailed(lacking)
        if not (folder / "flow.dag.yaml").is_file():
            raise FlowFailed(f"there is no flow in {folder}: render it with stages=[flow]")
        home, given = self.outputs.resolve() / "promptflow", self.connection
        arguments = ["--folder", folder.resolve(), "--home", home, "--connection", given.name]
        arguments += ["--endpoint", given.endpoint]
        if given.key_file:
            arguments += ["--key-file", given.key_file.resolve()]
        return Server(
            command=[sys.executable, "-m", serving.__name__, *map(str, arguments)],
            environment={} if given.key_file else {serving.KEY: given.key},
        )
