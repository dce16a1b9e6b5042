"""Rows for tests: dialogues as files spell them."""

import json
from collections.abc import Iterable
from pathlib import Path

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


def messages(*turns: tuple[str, object]) -> dict[str, object]:
    """Return a row in `messages` form."""
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def chat(number: int) -> dict[str, object]:
    """Return one of any number of different good rows."""
    return messages((USER, f"question {number}"), (ASSISTANT, f"answer {number}"))


def write_jsonl(file: Path, rows: Iterable[object]) -> Path:
    """Write rows as JSON Lines and return the file."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file
