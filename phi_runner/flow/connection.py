"""Where a flow sends its requests, with the endpoint's key in memory."""

from dataclasses import dataclass, field
from pathlib import Path

from phi_runner.errors import FlowFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The one endpoint that a flow asks."""

    name: str
    endpoint: str
    """Score URL."""
    key: str = field(repr=False)
    key_file: Path | None = None
    """File that holds the key; None: it is nowhere on this machine."""


def read_key(file: Path) -> str:
    """Read an endpoint's key; raises FlowFailed when its file cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as err:
        problem = f"the endpoint's key file {file} cannot be read ({err.strerror})"
        raise FlowFailed(f"{problem}: start the endpoint again, with deploy among the stages") from err
