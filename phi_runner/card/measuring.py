"""What is measured of one model: the same before and after, one model at a time, kept so that neither is done twice."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.card import harness
from phi_runner.card.harness import Score, Tasks
from phi_runner.card.question import last_answer, swapped
from phi_runner.config.schema import EvaluateConfig
from phi_runner.errors import EvaluateFailed
from phi_runner.events import StageEvents
from phi_runner.model import measure, pairs, tokens
from phi_runner.model.device import Device
from phi_runner.model.measure import Losses
from phi_runner.model.pairs import Pair
from phi_runner.model.tokens import Dialogue, TokenRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What both models are asked."""

    file: Path
    """The held-out rows."""
    prompts: Sequence[Dialogue]
    """The first of them, whose last answers are asked for."""
    compared: Sequence[Pair]
    probe: Sequence[Dialogue]
    tasks: Tasks | None
    config: EvaluateConfig
    max_length: int
    cache: Path
    place: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What one model scored; lists are by row, the same rows for both models."""

    held_out: Losses
    own: Losses | None
    """Of last answers after their own questions."""
    other: Losses | None
    """Of the same answers after other rows' questions."""
    probe: Losses | None
    preferred: list[bool]
    answers: list[str]
    wanted_tokens: list[int]
    """Tokens of the data's answer to each prompt."""
    scores: list[Score] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def rows_of(tokenizer: Any, asked: Asked) -> TokenRows:
    """Return the held-out rows in tokens; raises EvaluateFailed where none fits."""
    rows = tokens.tokenise_file(tokenizer, asked.file, max_length=asked.max_length, cache=asked.cache)
    if not len(rows.lengths):
        raise EvaluateFailed(f"no held-out dialogue fits into train.max_length={asked.max_length}: type a larger one")
    return rows


def of(model: Any, tokenizer: Any, asked: Asked, *, label: str, events: StageEvents) -> Measures:
    """Measure one model; its losses first, then what takes longer."""
    clock = _Clock()
    size, place = asked.config.batch_size, asked.place

    def losses(rows: TokenRows | None) -> Losses | None:
        if rows is None or not len(rows.lengths):
            return None
        return measure.losses(model, rows, pad=tokenizer.pad_token_id, batch_size=size, device=place)

    held_out = losses(rows_of(tokenizer, asked))
    assert held_out is not None  # noqa: S101 - rows_of refuses to return none
    events.info(f"held-out loss of the {label} model: {held_out.mean:.3f}", loss=held_out.mean)
    clock.lap("loss")
    both = swapped(tokenizer, asked.prompts, max_length=asked.max_length)
    own, other = (losses(both.own), losses(both.other)) if both else (None, None)
    clock.lap("question")
    probed = losses(tokens.tokenise(tokenizer, asked.probe, max_length=asked.max_length) if asked.probe else None)
    clock.lap("probe")
    preferred = _preferred(model, tokenizer, asked)
    clock.lap("preferred")
    answers = measure.answers(
        model, tokenizer, [last_answer(dialogue)[0] for dialogue in asked.prompts], batch_size=size, device=place,
        max_new_tokens=asked.config.max_new_tokens,
        told=lambda done: events.progress(done, len(asked.prompts), f"{label} model answers"),
    )  # fmt: skip
    clock.lap("answers")
    scores = harness.measure(asked.tasks, model, tokenizer, batch_size=size, device=place) if asked.tasks else []
    clock.lap("tasks")
    return Measures(
        held_out=held_out, own=own, other=other, probe=probed, preferred=preferred, answers=answers,
        wanted_tokens=_lengths(tokenizer, [last_answer(dialogue)[1] for dialogue in asked.prompts]), scores=scores,
        seconds=clock.seconds,
    )  # fmt: skip


class _Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Write down what has passed since the last one."""
        now = time.perf_counter()
        self.seconds[name], self._since = round(now - self._since, 3), now


def _preferred(model: Any, tokenizer: Any, asked: Asked) -> list[bool]:
    both = pairs.tokenise(tokenizer, asked.compared, max_length=asked.max_length)
    if not both.prompt_ids:
        return []
    size = asked.config.batch_size
    return pairs.preferred(model, both, pad=tokenizer.pad_token_id, batch_size=size, device=asked.place)


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    return [len(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []


def kept(file: Path) -> Measures | None:
    """Return what an interrupted run has measured already; None where it had not come so far."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        sums = {
            name: Losses(**values[name]) if values[name] else None for name in ("held_out", "own", "other", "probe")
        }
        return Measures(**values | sums | {"scores": [Score(**score) for score in values["scores"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(measures: Measures, *, file: Path) -> None:
    """Write down what was measured, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(asdict(measures)), encoding="utf-8")
    aside.replace(file)
