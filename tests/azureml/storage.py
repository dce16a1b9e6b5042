"""The storage key of an emulator under test."""

import json
from pathlib import Path

from phi_runner.azureml.emulator import blobs


def account_key(folder: Path) -> str:
    """Return the key that the emulator of a folder accepts."""
    secrets = json.loads((folder / "secrets.json").read_text(encoding="utf-8"))
    return blobs.account_key(secrets["storage"])
