"""Held-out dialogues as rows of a batch run: the turns before, the last question, and the answer that the data has."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Message = dict[str, str]


def row_of(messages: Sequence[Message]) -> dict[str, Any] | None:
    """Return a dialogue up to its last question and the answer to it, or None where it holds no such pair."""
    spoken = [{"role": item["role"], "content": item["content"]} for item in messages if item["content"]]
    for end in range(len(spoken) - 1, 0, -1):
        question, answer = spoken[end - 1], spoken[end]
        if (question["role"], answer["role"]) == ("user", "assistant"):
            before = spoken[: end - 1]
            return {"input_data": question["content"], "chat_history": before, "expected": answer["content"]}
    return None


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = row_of(json.loads(line)["messages"])
            if row:
                yield row


def write(file: Path, *, take: int, target: Path) -> list[dict[str, Any]]:
    """Write the first `take` dialogues of the data stage's JSONL to `target`, and return them."""
    rows = [row for row, _number in zip(_rows(file), range(take), strict=False)]
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return rows
