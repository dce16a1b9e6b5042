"""Golden files: compare with them, or write them again when PHI_RUNNER_WRITE_GOLDENS=1."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def same_as_golden(name: str, text: str) -> bool:
    """Say whether a text is what the golden file holds; see README.md for writing it again."""
    file = FOLDER / name
    if os.environ.get("PHI_RUNNER_WRITE_GOLDENS") == "1":
        file.write_text(text, encoding="utf-8")
    return file.is_file() and file.read_text(encoding="utf-8") == text
