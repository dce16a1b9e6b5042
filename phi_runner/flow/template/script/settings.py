"""What this flow is, from `flow.json`, and where its endpoint is, from the environment."""

import json
import os
from pathlib import Path
from typing import Any

from endpoint import EndpointFailed, Manner

SETTINGS: dict[str, Any] = json.loads((Path(__file__).parent / "flow.json").read_text(encoding="utf-8"))
MANNER = Manner(**SETTINGS["manner"])
PREFIX = SETTINGS["environment"]
UNSET = 500


def url() -> str:
    """Return the endpoint's score URL."""
    try:
        return os.environ[f"{PREFIX}_URL"]
    except KeyError:
        raise EndpointFailed(f"set {PREFIX}_URL to the endpoint's score URL", status=UNSET) from None


def key() -> str:
    """Return the endpoint's key; its file is read for every question, so that the key can be changed while we run."""
    file = os.environ.get(f"{PREFIX}_KEY_FILE")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as err:
            raise EndpointFailed(f"{PREFIX}_KEY_FILE={file}: {err.strerror}", status=UNSET) from None
    try:
        return os.environ[f"{PREFIX}_KEY"]
    except KeyError:
        words = f"set {PREFIX}_KEY to the endpoint's key, or {PREFIX}_KEY_FILE to a file that holds it"
        raise EndpointFailed(words, status=UNSET) from None
