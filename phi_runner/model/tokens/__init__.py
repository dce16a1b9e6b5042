"""Dialogues as token rows: rendered by the model's template, labelled on the assistant's words, cut, cached, packed."""

from phi_runner.model.tokens.block import IGNORED
from phi_runner.model.tokens.dialogues import Dialogue, Message, first, texts
from phi_runner.model.tokens.rows import TokenRows, pack, tokenise, tokenise_file
from phi_runner.model.tokens.streaming import Stream, stream

__all__ = [
    "IGNORED",
    "Dialogue",
    "Message",
    "Stream",
    "TokenRows",
    "first",
    "pack",
    "stream",
    "texts",
    "tokenise",
    "tokenise_file",
]
