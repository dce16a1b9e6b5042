"""The quality gate: a new deployment must answer held-out prompts as the model did when it was evaluated."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents

_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A prompt and what the evaluated model answered greedily with at most `max_new_tokens`."""

    messages: Sequence[Mapping[str, str]]
    answer: str
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is asked, and how much of it must come out as it did."""

    prompts: Sequence[HeldOut]
    floor: float


Ask = Callable[[HeldOut], "str | None"]
"""Answers a prompt greedily; None where the endpoint refuses it, as a prompt that is too long for it."""


def read(file: Path | None, *, most: int, floor: float) -> Gate:
    """Return the gate of the evaluation that `file` tells of; an empty one where there was none, or none is wanted."""
    if file is None or not file.is_file() or not most:
        return Gate(prompts=(), floor=floor)
    lines = file.read_text(encoding="utf-8").split("\n")  # splitlines would also split at U+2028, which JSON lets stand
    rows = [json.loads(line) for line in lines[:most] if line]
    prompts = [
        HeldOut(messages=row["messages"], answer=row["after"], max_new_tokens=row["max_new_tokens"])
        for row in rows
        if "max_new_tokens" in row  # an earlier version did not write down how long an answer was allowed to be
    ]
    return Gate(prompts=prompts, floor=floor)


def examine(gate: Gate, ask: Ask, *, name: str, events: StageEvents, at_a_time: int = 4) -> None:
    """Ask every prompt of the gate; raises DeployFailed where fewer answers than the floor came out as they did.

    Answers are compared as exact texts without the space around them. The same weights read greedily say the same
    words, so what differs is the template, the tokenizer, the precision or the weights, and each of these is what the
    gate is for. The floor leaves room for a tie between two tokens that another batch rounds the other way. Exported to
    int4 a model is another model: measure how often it agrees, and set `deploy.quality_floor` below that.
    """
    if not gate.prompts:
        events.info("no quality gate: the model was not evaluated, or deploy.quality_prompts=0")
        return
    with ThreadPoolExecutor(at_a_time) as threads:
        said = list(threads.map(ask, gate.prompts))
    pairs = [(held, text) for held, text in zip(gate.prompts, said, strict=True) if text is not None]
    if not pairs:
        events.warn("the endpoint takes none of the held-out prompts: it was not compared with the evaluated model")
        return
    others = [(held, text) for held, text in pairs if text.strip() != held.answer.strip()]
    share = 1 - len(others) / len(pairs)
    told = f"{len(pairs) - len(others)} of {len(pairs)} held-out prompts as the evaluated model did"
    if share < gate.floor:
        held, text = others[0]
        raise DeployFailed(
            f"{name} answers only {told} ({share:.0%}), fewer than deploy.quality_floor={gate.floor:g}: "
            f"{_short(held.messages[-1]['content'])!r} -> {_short(text)!r} instead of {_short(held.answer)!r}"
        )
    events.info(f"{name} answers {told}", deployment=name, share=share)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"
