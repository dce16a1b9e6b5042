"""What the page's process is told by the one that starts it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phi_runner.chat.asking import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One page: who answers on it, where it is, what its controls begin with."""

    sides: list[Side]
    host: str
    port: int
    feedback_file: str
    temperature: float
    max_new_tokens: int
    longest_answer: int
    """Upper end of the control, in tokens."""
    announce: str = ""
    """File in which the page says where it listens, as soon as it does."""
    state: str = ""
    """Folder for what the page's library keeps."""

    def save(self, file: Path) -> None:
        """Write the settings for `python -m phi_runner.chat.page --settings FILE`; no key is among them."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read(file: Path) -> Settings:
    """Read what `save` wrote; raises OSError, ValueError or TypeError."""
    values = json.loads(file.read_text(encoding="utf-8"))
    return Settings(**{**values, "sides": [Side(**side) for side in values["sides"]]})
