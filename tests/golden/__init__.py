"""Golden files: compare with them, or write them again when PHI_RUNNER_WRITE_GOLDENS=1."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def golden(name: str, *, now: str) -> str:
    """Return what a golden file holds, which ought to be `now`; see README.md for writing it again."""
    file = FOLDER / name
    if os.environ.get("PHI_RUNNER_WRITE_GOLDENS") == "1":
        file.write_text(now, encoding="utf-8")
    return file.read_text(encoding="utf-8") if file.is_file() else ""
