"""How much memory a stage needs at its peak, part by part, from the model's shape and the method's settings.

What is counted follows from the shape; what a process needs beside it (libraries, what glibc cannot give out again) are
constants that `benchmarks/plan.py` measures, the same for every configuration.
"""

from dataclasses import dataclass

from phi_runner.config.schema import Optimizer, QloraTrain, RunConfig, StageName, Strategy, TrainConfig, Weights
from phi_runner.plan.activations import FP32, weight_bytes
from phi_runner.plan.bands import GIB, Band, Counts, Figure, Memory, Missing, Part
from phi_runner.plan.division import Division
from phi_runner.plan.place import Place
from phi_runner.plan.shape import HEAD, Shape, linear_sizes, trains_adapters
from phi_runner.plan.text import Text

_BF16 = 2
_MOMENT_8BIT = 1.02
"""A byte, and a scale for every 256 of them."""
_LIBRARIES = {False: 0.765 * GIB, True: 2.6 * GIB}
"""Python, torch, transformers, TRL, the tracker and their like in main memory: measured on a processor, a guess for
CUDA. In a process that has imported them before, 0.65 of the first were left (31 trainings: 0.62 to 0.69)."""
_CONTEXT = 0.55 * GIB
"""CUDA's context and its libraries' workspaces, on each device."""
_GAPS = 1.27
"""Activations on a processor, over their sum: what lies between them is free and too small for the next one."""
_LOSS_PIECE = 64 * 2**20
_LEAST_ROWS = 256
_LOSS_COPIES = 3.1
"""A piece's logits, their sums' and slopes' temporaries."""
_LIBRARY_LOSS_COPIES = 3.0
"""Logits of every position where the library computes the loss: in the type multiplied in, in fp32, and their slope."""
_EVALUATED_TOKENS = 8192
"""Most tokens of a batch of the evaluate stage."""
_WIDTH = {False: (0.88, 1.15), True: (0.85, 1.25)}
"""The band around the likely figure, on a processor and on a device."""
_SOURCE = {
    False: "counted from the model's shape, plus constants measured on a processor (benchmarks/plan.py)",
    True: "counted from the model's shape, plus stated guesses for CUDA's own share, not measured here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """The parts of a training, in bytes, on what it computes on."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    loss: float
    libraries: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.loss + self.libraries

    def parts(self) -> tuple[Part, ...]:
        """Return them by name, the empty ones left out."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return tuple(Part(what=name, gib=value / GIB) for name, value in named.items() if value)


def training(config: RunConfig, shape: Shape, counts: Counts, place: Place, division: Division) -> Memory:
    """Return the peak of the train stage."""
    found = _training(config, shape, counts, place, division)
    likely = found.total
    host = _LIBRARIES[place.cuda] + (0 if isinstance(config.train, QloraTrain) else FP32 * counts.parameters)
    return _memory(
        StageName.train, place, peak=likely, host=host, parts=found.parts(), chosen=division.chosen, high=_extra(shape)
    )


def _extra(shape: Shape) -> float:
    return 1.0 if not shape.at_most else 1.02


def _training(config: RunConfig, shape: Shape, counts: Counts, place: Place, division: Division) -> Bytes:
    sharded = place.strategy is not Strategy.ddp and place.world > 1
    share = 1 / place.world if sharded else 1.0
    tokens = division.tokens
    weights = weight_bytes(config.train, shape, counts)
    buckets = 2 if place.world > 1 and not sharded else 1  # DDP keeps gradients once more, to send them
    gradients = buckets * _width(config.train) * counts.trained
    whole = _gathered(shape) if sharded else 0.0
    kept = division.kept
    per_token = kept.per_token_checkpointed if division.checkpointed else kept.per_token
    return Bytes(
        weights=weights * share + whole, gradients=gradients * share,
        optimiser=2 * _moment(config.train) * counts.trained * share,
        activations=kept.fixed + tokens * per_token * (1.0 if place.cuda else _GAPS),
        loss=_loss(config, shape, place, division, tokens=tokens),
        libraries=_CONTEXT if place.cuda else _LIBRARIES[False],
    )  # fmt: skip


def _width(train: TrainConfig) -> int:
    """Return the bytes of a weight that is trained, and of its gradient; adapters are always in fp32."""
    return _BF16 if train.weights is Weights.bf16 and not trains_adapters(train) else FP32


def _moment(train: TrainConfig) -> float:
    """Return the bytes of one of the optimiser's two numbers of a weight."""
    return _MOMENT_8BIT if train.optimizer is Optimizer.adamw_8bit else _width(train)


def _gathered(shape: Shape) -> float:
    """Return the layer, and the matrices outside of the layers, that a process holds whole for a moment."""
    architecture = shape.architecture
    layer = sum(taken * given for name, (taken, given) in linear_sizes(architecture).items() if name != HEAD)
    outside = architecture.vocab_size * architecture.hidden_size * (1 if architecture.tied else 2)
    return FP32 * float(2 * layer + outside)


def _loss(config: RunConfig, shape: Shape, place: Place, division: Division, *, tokens: float) -> float:
    """Return what the cross entropy takes for a moment: pieces of logits, and the head's gradient in fp32."""
    architecture = shape.architecture
    vocabulary, hidden = architecture.vocab_size, architecture.hidden_size
    if not division.fused_loss:
        return _LIBRARY_LOSS_COPIES * FP32 * vocabulary * min(tokens, _EVALUATED_TOKENS if place.cuda else tokens)
    rows = min(tokens, max(_LEAST_ROWS, _LOSS_PIECE // (FP32 * vocabulary)))
    head = 0 if trains_adapters(config.train) else 2 * FP32 * vocabulary * hidden
    return _LOSS_COPIES * FP32 * vocabulary * rows + head + 2 * FP32 * hidden * tokens


def evaluating(config: RunConfig, shape: Shape, place: Place, text: Text | Missing) -> Memory:
    """Return the peak of the evaluate stage: one model at a time, and the logits of a batch."""
    architecture = shape.architecture
    longest = min(text.longest if isinstance(text, Text) else config.train.max_length, config.train.max_length)
    rows = min(config.evaluate.batch_size, max(1, int(_EVALUATED_TOKENS // max(1, longest))))
    logits = _LIBRARY_LOSS_COPIES * FP32 * architecture.vocab_size * rows * longest
    weights = FP32 * float(architecture.parameters)
    base = _CONTEXT if place.cuda else _LIBRARIES[False]
    parts = (
        Part(what="weights", gib=weights / GIB), Part(what="loss", gib=logits / GIB),
        Part(what="libraries", gib=base / GIB),
    )  # fmt: skip
    return _memory(
        StageName.evaluate, place, peak=weights + logits + base, host=_LIBRARIES[place.cuda] + weights, parts=parts,
        chosen=(), high=1.1,
    )  # fmt: skip


def _memory(
    stage: StageName, place: Place, *, peak: float, host: float, parts: tuple[Part, ...], chosen: tuple[str, ...],
    high: float,
) -> Memory:  # fmt: skip
    tight = _band(peak, cuda=place.cuda, high=high)
    first_only = stage is StageName.evaluate
    return Memory(
        stage=stage, processes=1 if first_only else place.processes, device=place.name,
        per_process=_band(host, cuda=True, high=1.0) if place.cuda else tight,
        per_device=tight if place.cuda else None, parts=parts, available=place.available,
        fits=fits(tight, place.available), chosen=chosen,
    )  # fmt: skip


def _band(bytes_: float, *, cuda: bool, high: float) -> Band:
    below, above = _WIDTH[cuda]
    likely = bytes_ / GIB
    return Band(low=likely * below, likely=likely, high=likely * above * high, unit="GiB", source=_SOURCE[cuda])


def fits(needed: Figure, available: Figure) -> bool | None:
    """Say whether the likely need is there; None where one of the two is not known."""
    if isinstance(needed, Missing) or isinstance(available, Missing):
        return None
    return needed.likely <= available.likely
