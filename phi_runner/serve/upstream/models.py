"""What our side of an exchange reads in the model's folder, and in a server's complaint."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.errors import DeployFailed

if TYPE_CHECKING:
    import httpx

    from phi_runner.model.engines.prompts import Prompts

_SHOWN = 300
"""Characters of a server's words in our error."""


def prompts(folder: Path, *, most: int | None = None) -> "Prompts":
    """Return the folder's tokenizer and template, `most` being what the server has room for; raises DeployFailed."""
    from phi_runner.model.engines.prompts import Prompts

    found = _read(folder / "config.json").get("max_position_embeddings")
    if not isinstance(found, int):
        raise DeployFailed(f"{folder / 'config.json'} names no max_position_embeddings: the context is not known")
    return Prompts(folder, context=min(found, most or found))


def stops(folder: Path) -> list[int]:
    """Return the tokens that end an answer; raises DeployFailed."""
    file = folder / "generation_config.json"
    found = _read(file if file.is_file() else folder / "config.json").get("eos_token_id")
    if found is None:
        raise DeployFailed(f"{file} names no eos_token_id: no answer would end")
    return found if isinstance(found, list) else [found]


def complaint(response: "httpx.Response") -> str:
    """Return what an error's body says, in OpenAI's shape or any other, in one line."""
    try:
        said = response.json()
    except ValueError:
        said = response.text
    for name in ("error", "message"):
        said = said.get(name, said) if isinstance(said, dict) else said
    return " ".join(str(said).split())[:_SHOWN]


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DeployFailed(f"cannot read {file}: {err}") from err
    return found
