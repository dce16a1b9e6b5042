"""Where the model answers and how people reach it."""

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import ClassVar


@dataclass(kw_only=True, slots=True)
class DeployConfig:
    """Where the model answers."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class NoDeploy(DeployConfig):
    """No endpoint."""

    kind: ClassVar[str] = "none"


@dataclass(kw_only=True, slots=True)
class LocalDeploy(DeployConfig):
    """An endpoint process on this machine."""

    kind: ClassVar[str] = "local"
    name: str = "phi-endpoint"
    """Name of the endpoint; one process per name."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port, told in the log and in the result."""
    detach: bool = False
    """Keep serving after the run has ended, until the `teardown` stage."""
    max_concurrent: int = 3
    """Requests answered at a time (the tutorials' value)."""
    request_timeout_s: float = 180.0
    """Longest time an answer may take (the tutorials' 180000 ms)."""
    max_queue_wait_s: float = 120.0
    """Longest wait for a free slot (the tutorials' 120000 ms)."""
    start_timeout_s: float = 180.0
    """How long the process may take until it is ready."""
    max_new_tokens: int = 128
    """Answer length when the request names none (the tutorials' value)."""


@dataclass(kw_only=True, slots=True)
class FlowConfig:
    """The chat application in front of the endpoint."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class NoFlow(FlowConfig):
    """No flow."""

    kind: ClassVar[str] = "none"


@dataclass(kw_only=True, slots=True)
class PromptFlow(FlowConfig):
    """A Microsoft Prompt flow DAG (retired by Microsoft on 2027-04-20)."""

    kind: ClassVar[str] = "promptflow"
    name: str = "chat-with-phi"
    connection: str = "phi-endpoint"
    """Name of the custom connection that holds the endpoint's address and key."""
    question: str = "Who founded Microsoft?"
    """Asked when the flow is tested (the tutorials' default input)."""
    serve: bool = False
    """Leave the flow's page and API running."""
    host: str = "127.0.0.1"
    port: int = 8080
    """The tutorials' port; 0: any free one."""


class ChatUi(StrEnum):
    """Where a person talks to the model."""

    terminal = auto()
    page = auto()


@dataclass(kw_only=True, slots=True)
class ChatConfig:
    """How a person talks to the model."""

    ui: ChatUi = ChatUi.terminal
    max_new_tokens: int = 128
    temperature: float = 0.0
    """0: always the likeliest token."""
