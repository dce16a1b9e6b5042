"""How long the train stage takes: from earlier trainings here, else from operations and a stated rate."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from phi_runner.config.schema import DpoTrain, RunConfig, StageName
from phi_runner.plan.bands import Band, Figure, Missing
from phi_runner.plan.division import Division
from phi_runner.plan.history import Past, pasts
from phi_runner.plan.place import Place
from phi_runner.plan.rates import rate
from phi_runner.plan.shape import Shape
from phi_runner.plan.text import Text
from phi_runner.plan.work import Work, work
from phi_runner.store import Store

_HOUR_S = 3600.0
_START_S = 5.0, 15.0, 60.0
"""Imports, the tokens of the data, the first touch of everything."""
_READ_BYTES_S = 0.3e9, 1.0e9, 3.0e9
"""A disk gives weights at so many bytes a second, slowest first."""
_SAME = 0.8, 1.25
"""Two runs of the same command on one machine differ by this much."""
_ALIKE = 0.55, 1.8
"""Another size or method is as much more or less efficient (3 against 58 million weights: 1.8 times)."""
_MOST_EVALUATIONS = 10
_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a training has to do."""

    tokens: Band
    held_out: float
    """Tokens read for held-out losses, all evaluations together."""
    work: Work
    data: str
    """Key of the data set."""

    @property
    def operations(self) -> float:
        """Return all operations of the loop."""
        return self.tokens.likely * self.work.trained + self.held_out * self.work.read


def load_of(config: RunConfig, shape: Shape, division: Division, text: Text | Missing, *, data: str) -> Load | Missing:
    """Return what a training reads and learns."""
    train = config.train
    steps = int(train.extra.get("max_steps") or 0)
    step_rows = train.batch_size * train.accumulation_steps
    if isinstance(text, Missing) and steps <= 0:
        return text
    mean = text.tokens / text.rows if isinstance(text, Text) else train.max_length / 2
    width = text.uncertainty if isinstance(text, Text) else 2.0
    pair = 2 if isinstance(train, DpoTrain) else 1
    row = min(float(train.max_length), 0.95 * train.max_length) if train.packing else mean * pair
    likely = steps * step_rows * row if steps > 0 else mean * pair * _rows(text) * train.epochs
    if steps > 0 and train.packing:
        width = 1.1
    held_out = _evaluations(config, steps) * (text.held_out * mean if isinstance(text, Text) else 0.0)
    attended = min(1.3 * mean, float(train.max_length))
    return Load(
        tokens=Band(low=likely / width, likely=likely, high=likely * width, unit="tokens", source=_source(text)),
        held_out=held_out, data=data,
        work=work(
            shape.architecture, train, attended=attended, checkpointed=division.checkpointed,
            fused_loss=division.fused_loss,
        ),
    )  # fmt: skip


def _rows(text: Text | Missing) -> int:
    return text.rows if isinstance(text, Text) else 0


def _source(text: Text | Missing) -> str:
    return text.source if isinstance(text, Text) else "train.extra.max_steps"


def _evaluations(config: RunConfig, steps: int) -> int:
    if steps > 0:
        return 1
    return max(1, config.train.epochs // math.ceil(config.train.epochs / _MOST_EVALUATIONS))


def training_hours(
    config: RunConfig, shape: Shape, place: Place, division: Division, load: Load, *, store: Store
) -> Figure:
    """Return the hours of the train stage on a machine that is there already."""
    known = pasts(store, place=place)
    same = [past for past in known if _is_same(past, config, shape, division, place)]
    if same:
        return _repeated(same[:_REPEATS], config, load)
    if known:
        return _scaled(known[0], config, load, shape)
    speed = rate(place)
    if isinstance(speed, Missing):
        return speed
    start = _start(shape)
    total = load.operations
    low_share, high_share = load.tokens.low / load.tokens.likely, load.tokens.high / load.tokens.likely
    world = place.world
    return Band(
        low=(start.low + low_share * total / speed.high / world) / _HOUR_S,
        likely=(start.likely + total / speed.likely / world) / _HOUR_S,
        high=(start.high + high_share * total / speed.low / world) / _HOUR_S,
        unit="h", source=f"{speed.source}; no measured training on this kind of machine in the store",
    )  # fmt: skip


def _start(shape: Shape) -> Band:
    bytes_ = 4 * shape.architecture.parameters
    low, likely, high = _START_S
    slow, usual, quick = _READ_BYTES_S
    return Band(
        low=low + bytes_ / quick, likely=likely + bytes_ / usual, high=high + bytes_ / slow, unit="s", source="stated"
    )  # fmt: skip


def _is_same(past: Past, config: RunConfig, shape: Shape, division: Division, place: Place) -> bool:
    """Say whether a training was of the same shape, method and rows: its rate then holds as it is."""
    parts, train = past.manifest.parts, config.train
    near = abs(past.architecture.parameters - shape.architecture.parameters) <= 0.02 * shape.architecture.parameters
    wanted = {"max_length": train.max_length, "packing": train.packing}
    typed = all(_text(parts, f"train.{name}") == str(value).lower() for name, value in wanted.items())
    rank = str(getattr(train, "rank", ""))
    return (
        near and typed and _text(parts, "train.rank") == rank and past.checkpointed == division.checkpointed
        and past.micro_batch == division.rows and past.processes == place.world
    )  # fmt: skip


def _text(parts: dict[str, str], path: str) -> str:
    return parts.get(f"config:{path}", "").lower()


def _repeated(same: list[Past], config: RunConfig, load: Load) -> Band:
    """Return what the same training took before, for as many tokens as there are now."""
    found = []
    for past in same:
        tokens = _tokens_now(past, config, load)
        share = tokens / past.tokens
        found.append(max(0.0, past.manifest.seconds - past.loop_s) + past.loop_s * share)
    likely = statistics.median(found)
    runs = "the last run" if len(same) == 1 else f"the last {len(same)} runs"
    return Band(
        low=min(*found, likely) * _SAME[0] / _HOUR_S, likely=likely / _HOUR_S,
        high=max(*found, likely) * _SAME[1] / _HOUR_S, unit="h",
        source=f"{runs} of this shape and method on this machine: {_rate(same[0]):,.0f} tokens/s",
    )  # fmt: skip


def _tokens_now(past: Past, config: RunConfig, load: Load) -> float:
    """Return the tokens of this run: those of the earlier one where it had the same rows, else the estimate."""
    steps = int(config.train.extra.get("max_steps") or 0)
    learnt_before = load.data and past.manifest.inputs.get(StageName.data) == load.data
    if learnt_before and past.epochs and not steps and _same_rows(past, config):
        return past.tokens / past.epochs * config.train.epochs
    if steps and _text(past.manifest.parts, "train.batch_size") == str(config.train.batch_size):
        told: Any = past.manifest.parts.get("config:train.extra.max_steps", "")
        if str(told).isdigit() and int(told):
            return past.tokens / int(told) * steps
    return load.tokens.likely


def _same_rows(past: Past, config: RunConfig) -> bool:
    return not past.manifest.parts.get("config:train.extra.max_steps") and config.train.epochs > 0


def _rate(past: Past) -> float:
    return past.tokens / past.steps_s


def _scaled(past: Past, config: RunConfig, load: Load, shape: Shape) -> Band:
    """Return what another training's rate gives here, by operations."""
    then = work(
        past.architecture, config.train, attended=past.attended, checkpointed=past.checkpointed,
        fused_loss=past.fused_loss,
    )  # fmt: skip
    speed = past.tokens * then.trained / past.steps_s
    loop = load.operations / speed
    start = max(0.0, past.manifest.seconds - past.loop_s)
    low, high = load.tokens.low / load.tokens.likely, load.tokens.high / load.tokens.likely
    return Band(
        low=(0.7 * start + loop * low * _ALIKE[0]) / _HOUR_S, likely=(start + loop) / _HOUR_S,
        high=(1.5 * start + loop * high * _ALIKE[1]) / _HOUR_S, unit="h",
        source=(
            f"another training on this machine ({past.parameters / 1e6:.1f} million weights at {_rate(past):,.0f} "
            f"tokens/s), by operations to {shape.architecture.parameters / 1e6:.1f} million"
        ),
    )  # fmt: skip
