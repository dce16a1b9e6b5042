"""What the tests of deployments ask for: an endpoint of the tiny model under a temporary outputs folder."""

import socket
from pathlib import Path

from phi_runner import processes
from phi_runner.config.schema import LocalDeploy, StageName
from phi_runner.deploy.local import Wanted
from phi_runner.events import Event, Events, StageEvents
from phi_runner.template import template_hash


class Heard:
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        stream = Events()
        stream.listen(self._take)
        self.events = StageEvents(stream, StageName.deploy)

    def _take(self, event: Event) -> None:
        self.lines.append(f"{event.message} {event.values}")

    @property
    def text(self) -> str:
        """Return all that was said."""
        return "\n".join(self.lines)


def wanted(model: Path, outputs: Path, *, label: str = "tiny/1", **config: object) -> Wanted:
    """Return a wish for an endpoint of a model folder."""
    return Wanted(
        config=LocalDeploy(**{"start_timeout_s": 90.0, **config}),  # type: ignore[arg-type]
        model_folder=model, label=label, template_hash=template_hash(model), device="cpu", outputs=outputs,
    )  # fmt: skip


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def stop_all(outputs: Path) -> None:
    """End every endpoint of a test."""
    for running in processes.listed(outputs=outputs):
        processes.stop_recorded(running, outputs=outputs)
