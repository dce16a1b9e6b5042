"""Engines in front of the tests' own servers, and an ear for what they say."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.model.answering import Engine, EngineFailed, Finished, Piece, Prompt, Sampling
from phi_runner.serve.settings import Settings
from phi_runner.serve.upstream import azureml, vllm
from phi_runner.serve.upstream.engine import UpstreamEngine
from phi_runner.template import template_hash

QUESTION = "Who founded Microsoft?"


@dataclass(slots=True)
class Ear:
    """Takes what an answer says."""

    pieces: list[Piece] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    first: threading.Event = field(default_factory=threading.Event)

    def hear(self, piece: Piece) -> None:
        """Take a piece, from any thread."""
        assert not self.over.is_set(), f"{piece} came after the end"
        self.pieces.append(piece)
        self.first.set()
        if not isinstance(piece, str):
            self.over.set()

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    def end(self, *, within_s: float = 30.0) -> Finished | EngineFailed:
        """Wait for the end."""
        assert self.over.wait(within_s)
        last = self.pieces[-1]
        assert not isinstance(last, str)
        return last


def ask(engine: Engine, *said: str, **sampling: Any) -> tuple[Ear, Callable[[], None]]:
    """Begin an answer to what user and assistant have said by turns; return what hears it and what cancels it."""
    roles = ("user", "assistant")
    messages = tuple({"role": roles[turn % 2], "content": text} for turn, text in enumerate(said or (QUESTION,)))
    choose = Sampling(**{"max_new_tokens": 64, **sampling})
    tokens = engine.tokenise(messages, max_new_tokens=choose.max_new_tokens)
    ear = Ear()
    return ear, engine.start(Prompt(messages=messages, tokens=tokens), sampling=choose, tell=ear.hear)


def settings(folder: Path, **changes: Any) -> Settings:
    """Return settings for an engine on this model."""
    values = {
        "name": "tiny-endpoint", "model_folder": str(folder), "label": "tiny/1", "template_hash": template_hash(folder),
        "key_file": "", "announce": "",
    }  # fmt: skip
    return Settings(**{**values, **changes})


@contextmanager
def vllm_engine(folder: Path, *options: str, deaths: list[BaseException] | None = None) -> Iterator[UpstreamEngine]:
    """Serve a folder by the server that speaks as vLLM does."""
    program = [sys.executable, "-m", "tests.serve.upstream.vllm_server"]
    told = settings(folder, engine="vllm", engine_options=list(options))
    engine = vllm.serve(program, settings=told, on_death=(deaths if deaths is not None else []).append)
    assert isinstance(engine, UpstreamEngine)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def azureml_engine(folder: Path, *, python: Path, code: Path, **changes: Any) -> Iterator[UpstreamEngine]:
    """Serve a folder by Azure's inference server, or by what `python` starts in its place."""
    told = settings(folder, engine="azureml", engine_python=str(python), engine_folder=str(code), **changes)
    engine = azureml.open_azureml(told, on_death=[].append)
    assert isinstance(engine, UpstreamEngine)
    try:
        yield engine
    finally:
        engine.close()


def stats(engine: UpstreamEngine) -> dict[str, Any]:
    """Return what the tests' server has counted."""
    counted: dict[str, Any] = engine._server.get("/stats").json()
    return counted
