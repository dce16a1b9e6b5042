"""How the runner will divide a step: rows at once, checkpointing, attention and loss; its own rules, asked early."""

import math
from dataclasses import dataclass, fields, replace

from phi_runner.config.schema import (
    Attention,
    Choice,
    DpoTrain,
    FullTrain,
    Loss,
    RunConfig,
    Speed,
    Strategy,
    TrainConfig,
)
from phi_runner.errors import TrainFailed
from phi_runner.model.training.room import SHARE, Need, rule, what_fits
from phi_runner.plan.activations import FP32, Kept, kept, weight_bytes
from phi_runner.plan.bands import GIB, Band, Counts, Missing
from phi_runner.plan.place import Place
from phi_runner.plan.shape import Shape, trains_adapters
from phi_runner.plan.text import Text

_SPREAD = 1.0
"""Chance adds this much of the distance to the longest row, by the root of the rows, in the fullest of many batches."""
_PAIR = 2
"""Rows of a preference pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What goes through the model at once."""

    rows: int
    row_tokens: float
    """Of the longest."""
    tokens: float
    """At once, in the fullest micro-batch."""
    step_rows: int
    """Of one process."""
    checkpointed: bool
    fused_loss: bool
    kept: Kept
    refused: str = ""
    """What the train stage will say when not even one row fits; the figures are then those of one row."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return what the runner will choose, as it is typed."""
        again = Choice.always if self.checkpointed else Choice.never
        return (
            f"train.micro_batch={self.rows}", f"train.gradient_checkpointing={again}",
            f"train.loss={Loss.fused if self.fused_loss else Loss.library}",
        )  # fmt: skip


def divide(config: RunConfig, shape: Shape, counts: Counts, place: Place, text: Text | Missing) -> Division:
    """Return how a training will begin; a search for a faster micro-batch may later choose a smaller one."""
    train = config.train
    measured = kept(shape.architecture, train, bf16=place.bf16, cuda=place.cuda)
    step = max(1, train.batch_size * train.accumulation_steps // place.world)
    longest, long = _lengths(config, text)
    checkpointed, fitting, refused = _room(config, shape, counts, place, step=step, row_tokens=longest)
    size = rule(train, cpu=not place.cuda, rows=step, row_tokens=max(1, int(long)), fitting=fitting)
    return Division(
        rows=size, row_tokens=longest, tokens=_at_once(train, size, longest, text), step_rows=step,
        checkpointed=checkpointed, kept=measured, refused=refused,
        fused_loss=fused(train, cuda=place.cuda),
    )  # fmt: skip


def _at_once(train: TrainConfig, rows: int, longest: float, text: Text | Missing) -> float:
    """Return the tokens of a full micro-batch: where rows lie end to end, long ones meet short ones."""
    if isinstance(text, Missing) or train.packing or not end_to_end(train):
        return rows * longest
    mean = min(longest, text.tokens / text.rows)
    return min(rows * longest, rows * mean + _SPREAD * (longest - mean) * math.sqrt(rows))


def _lengths(config: RunConfig, text: Text | Missing) -> tuple[float, float]:
    """Return the tokens of the longest row and of one that nine in ten are shorter than."""
    train = config.train
    most = float(train.max_length)
    if isinstance(train, DpoTrain):
        long = _PAIR * min(most, text.long) if isinstance(text, Text) else _PAIR * most
        return (_PAIR * min(most, text.longest) if isinstance(text, Text) else _PAIR * most), long
    if train.packing or isinstance(text, Missing):
        return most, most
    return min(most, text.longest), min(most, text.long)


def _room(
    config: RunConfig, shape: Shape, counts: Counts, place: Place, *, step: int, row_tokens: float
) -> tuple[bool, int, str]:
    """Return whether activations are computed again, how many rows fit, and why not even one does."""
    train = config.train
    if isinstance(train, DpoTrain):
        again = train.gradient_checkpointing is Choice.always or (
            train.gradient_checkpointing is Choice.auto and place.cuda
        )
        return again, step, ""
    if train.speed is Speed.library or (place.world > 1 and place.strategy is not Strategy.ddp):
        return train.gradient_checkpointing is Choice.always, step, ""
    free = _free(train, shape, counts, place)
    if free is None:  # the runner will ask the device: the least that it can do is what has to fit
        return train.gradient_checkpointing is not Choice.never, 1, ""
    need = _need(train, shape, counts, place)
    try:
        found = what_fits(train, need=need, free=int(free), rows=step, row_tokens=int(row_tokens))
    except TrainFailed as refused:
        return train.gradient_checkpointing is not Choice.never, 1, str(refused)
    return found.checkpointed, found.rows, ""


def _free(train: TrainConfig, shape: Shape, counts: Counts, place: Place) -> float | None:
    """Return the bytes that the runner will find free: it asks when libraries and weights are loaded."""
    if train.memory_gib:
        return train.memory_gib * GIB
    if isinstance(place.available, Missing):
        return None
    return max(0.0, SHARE * (place.available.likely * GIB - weight_bytes(train, shape, counts)))


def _need(train: TrainConfig, shape: Shape, counts: Counts, place: Place) -> Need:
    """Return what the runner will measure: it looks at the base before adapters are put on it."""
    plain = shape.architecture
    base = kept(plain, _without_adapters(train), bf16=place.bf16, cuda=place.cuda)
    return Need(
        fixed=int(3 * FP32 * counts.trained + base.fixed + FP32 * plain.vocab_size * plain.hidden_size),
        per_token=base.per_token,
        per_token_checkpointed=FP32 * plain.layers * plain.hidden_size + base.per_token / plain.layers,
    )


def _without_adapters(train: TrainConfig) -> TrainConfig:
    if not trains_adapters(train):
        return train
    shared = {item.name: getattr(train, item.name) for item in fields(FullTrain)}
    return FullTrain(**shared)


def fused(train: TrainConfig, *, cuda: bool) -> bool:
    """Say whether the runner's own loss is used."""
    if isinstance(train, DpoTrain):
        return False
    if train.loss is not Loss.auto:
        return train.loss is Loss.fused
    special = train.extra.get("loss_type", "nll") != "nll" or train.extra.get("label_smoothing_factor")
    return not (special or cuda or train.speed is Speed.library)


def end_to_end(train: TrainConfig) -> bool:
    """Say whether rows lie end to end in a micro-batch, without padding."""
    if isinstance(train, DpoTrain):
        return False
    if train.attention is Attention.auto:
        return train.speed is not Speed.library
    return train.attention is not Attention.sdpa


def with_available(place: Place, gib: float, *, source: str) -> Place:
    """Return the same place with another amount of memory."""
    return replace(place, available=Band(low=gib, likely=gib, high=gib, unit="GiB", source=source))
