"""Dialogues and a small Phi-3-shaped tokenizer that tests of token rows share."""

from functools import cache
from pathlib import Path
from typing import Any

from phi_runner.data.write import write_rows
from phi_runner.model import tokenizer as bpe

CHATS: list[list[dict[str, str]]] = [
    [
        {"role": "user", "content": "Who founded Microsoft?"},
        {"role": "assistant", "content": "Bill Gates and Paul Allen."},
    ],
    [
        {"role": "system", "content": "Answer shortly."},
        {"role": "user", "content": "Name a planet."},
        {"role": "assistant", "content": "Mars."},
        {"role": "user", "content": "Another one,\nplease."},
        {"role": "assistant", "content": "  Venus, with spaces.  "},
        {"role": "user", "content": "Ünïcode 你好 😀?"},
        {"role": "assistant", "content": "Ünïcode 你好 😀\n\n- and\n- lines"},
    ],
]


def numbered(count: int) -> list[list[dict[str, str]]]:
    """Return dialogues of one to three questions, no two of them the same."""
    return [
        [
            message
            for turn in range(1 + number % 3)
            for message in (
                {"role": "user", "content": f"Say {number} for the {turn}. time."},
                {"role": "assistant", "content": f"{number} " * (2 + number % 7)},
            )
        ]
        for number in range(count)
    ]


def write(chats: list[Any], *, file: Path) -> Path:
    """Write dialogues as the data stage does."""
    write_rows(chats, arrow=file, jsonl=file.with_suffix(".jsonl"))
    return file


@cache
def _settings() -> Any:
    texts = [message["content"] for chat in CHATS for message in chat] + [str(number) for number in range(100)]
    return bpe.train(texts, vocab_size=450, context=512)


def make_tokenizer() -> Any:
    """Return a tokenizer of about 450 tokens with Phi-3's template, the caller's own to change."""
    from copy import deepcopy

    return deepcopy(_settings())
