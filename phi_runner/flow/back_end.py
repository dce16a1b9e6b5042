"""What every way of running the flow can do: answer one question in a process of its own, and be served."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the flow said, and what it took."""

    text: str
    call_s: float
    """Seconds from question to answer."""
    import_s: float = 0.0
    """Seconds that importing Prompt flow took, waited for or not; elsewhere a part of `call_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A command that serves a flow once it has been given `--host` and `--port`."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)


class BackEnd(Protocol):
    """A way of running the flow."""

    def ask(self, folder: Path, question: str) -> Answer:
        """Ask the flow in `folder` one question; raises FlowFailed with what went wrong."""

    def server(self, folder: Path) -> Server:
        """Return how to serve the flow in `folder`; raises FlowFailed when something is not installed."""
