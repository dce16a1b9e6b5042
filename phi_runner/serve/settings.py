"""What the endpoint process is told by the one that starts it, and what it tells back."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

EXIT_PORT_IN_USE = 98
"""Exit code of a server that found its port taken (Linux's number for "address already in use")."""
_NOT_IDENTITY = ("port", "announce", "key_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One endpoint: the model, the address, the limits."""

    name: str
    model_folder: str
    label: str
    """What clients know the model by: `registered name/version`."""
    template_hash: str
    """The chat template that the model was trained with; a folder with another one is not served."""
    key_file: str
    announce: str
    """File in which the server says where it listens, as soon as it does."""
    host: str = "127.0.0.1"
    port: int = 0
    device: str = "cpu"
    engine: str = "transformers"
    """A value of `EngineName`."""
    engine_folder: str = ""
    """What was exported from the model for this engine; empty: the engine reads `model_folder` itself."""
    engine_python: str = ""
    """Interpreter of the environment that an engine with a server of its own runs in."""
    engine_options: list[str] = field(default_factory=list)
    """More words for that server's command line."""
    max_concurrent: int | None = None
    """Requests answered at a time; None: what the engine serves best."""
    max_queue: int = 64
    """Requests that may wait for a slot."""
    request_timeout_s: float = 180.0
    max_queue_wait_s: float = 120.0
    max_new_tokens: int = 128
    max_body_bytes: int = 1024 * 1024
    body_timeout_s: float = 30.0
    """How long a request's body may take to arrive."""

    def fingerprint(self) -> str:
        """Return a hash of what is served and how; where it listens does not count."""
        values = {name: value for name, value in asdict(self).items() if name not in _NOT_IDENTITY}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def save(self, file: Path) -> None:
        """Write the settings for `python -m phi_runner.serve --settings FILE`."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read(file: Path) -> Settings:
    """Read what `save` wrote; raises OSError, ValueError or TypeError."""
    return Settings(**json.loads(file.read_text(encoding="utf-8")))


def announce(file: Path, *, port: int) -> None:
    """Say which port the server listens on."""
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps({"port": port}) + "\n", encoding="utf-8")
    aside.replace(file)


def announced(file: Path) -> int:
    """Return the port that a server has announced, 0 when it has not yet."""
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["port"])
    except FileNotFoundError:
        return 0
