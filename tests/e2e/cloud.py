"""The whole cloud recipe against the emulated Azure, in processes of its own, and what it left on the wire."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import runs
from tests.e2e import cli

QUESTION = "What is the capital of France?"
SMALL = tuple(item for item in cli.SMALL if not item.startswith("compute."))
ARGUMENTS = (
    "+recipe=full", "compute=azure_cpu", "deploy=azure", "flow=foundry", "azure=rehearsal", "azure.folder=cloud",
    "data=jsonl", "data.train_file=facts.jsonl", f"flow.question='{QUESTION}'", *SMALL,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call that the emulator received; its secrets are hidden."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    request: Any
    status: int
    response: Any


def folder_with_facts(folder: Path) -> Path:
    """Put a few facts to learn into a folder."""
    runs.facts_file(folder)
    return folder


def wire(folder: Path) -> list[Seen]:
    """Return every call of the folder's rehearsals, oldest first."""
    lines = (folder / "outputs/rehearsal/wire.jsonl").read_text(encoding="utf-8").splitlines()
    names = Seen.__dataclass_fields__
    return [Seen(**{name: json.loads(line).get(name) for name in names}) for line in lines]


def asked(folder: Path, method: str, path: str) -> list[Seen]:
    """Return the calls whose path a pattern matches to its end, whatever its case."""
    pattern = re.compile(rf".*{path}", re.IGNORECASE)
    return [call for call in wire(folder) if call.method == method and pattern.fullmatch(call.path)]


def refused(folder: Path) -> list[str]:
    """Return the hosts that the proxy did not let through."""
    file = folder / "cloud/refused.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def secrets(folder: Path) -> list[str]:
    """Return what must stay inside the emulated cloud."""
    kept: dict[str, str] = json.loads((folder / "cloud/secrets.json").read_text(encoding="utf-8"))
    return list(kept.values())


def resources(folder: Path) -> list[str]:
    """Return the paths of what the cloud holds, less what deleting leaves nothing of."""
    state: dict[str, Any] = json.loads((folder / "cloud/state.json").read_text(encoding="utf-8"))
    return sorted(state["resources"])
