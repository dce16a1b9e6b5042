"""How many rows fit into memory at once, and with how many a training begins; a plan asks the same without a model."""

from dataclasses import dataclass

from phi_runner.config.schema import Choice, Speed, TrainConfig
from phi_runner.errors import TrainFailed

SHARE = 0.85
"""Of what is free; the rest is for the loss's pieces, the tracker, and the machine."""
_CACHED_TOKENS = 2048
"""Tokens of a micro-batch near a processor's caches: 32 dialogues of 450 tokens took 22 s by eights, 67 at once."""
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes that a training takes beside the weights themselves."""

    fixed: int
    """Gradients, the optimiser's two moments, what a pass keeps whatever its length, the head's gradient once more."""
    per_token: float
    """Activations that wait for the backward pass, a token of a micro-batch."""
    per_token_checkpointed: float
    """The same with gradient checkpointing: the layers' inputs, one layer computed again at a time."""

    def of(self, tokens: int, *, checkpointed: bool = False) -> float:
        """Return what a micro-batch of so many tokens needs."""
        return self.fixed + tokens * (self.per_token_checkpointed if checkpointed else self.per_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What fits: rows at once, whether activations must be computed again for it, and why."""

    rows: int
    checkpointed: bool
    why: str


def what_fits(config: TrainConfig, *, need: Need, free: int, rows: int, row_tokens: int) -> Room:
    """Return how many of a step's `rows` fit at once, of `row_tokens` each; `free` is in bytes.

    Raises TrainFailed when not even one does.
    """
    wanted = config.gradient_checkpointing
    has = f"{free / _GIB:.1f} GiB are free"
    for checkpointed in (False, True):
        if wanted is (Choice.never if checkpointed else Choice.always):
            continue
        fitting = [size for size in divisors(rows) if need.of(size * row_tokens, checkpointed=checkpointed) <= free]
        if fitting:
            takes = need.of(row_tokens, checkpointed=False) / _GIB
            why = f"a row of {row_tokens} tokens takes about {takes:.1f} GiB without, {has}"
            return Room(rows=fitting[-1], checkpointed=checkpointed, why=why)
    least = need.of(row_tokens, checkpointed=wanted is not Choice.never) / _GIB
    raise TrainFailed(
        f"training needs about {least:.1f} GiB for one row of {row_tokens} tokens, {has}: type train=lora, "
        f"train.max_length={max(64, row_tokens // 2)}, a smaller model, or train.memory_gib={least + 1:.0f} to try it"
    )


def divisors(rows: int) -> list[int]:
    """Return the sizes of micro-batches into which a step's rows divide evenly, the smallest first."""
    return [size for size in range(1, rows + 1) if rows % size == 0]


def rule(config: TrainConfig, *, cpu: bool, rows: int, row_tokens: int, fitting: int) -> int:
    """Return the size to begin with: what was typed, or what fits into memory and, on a processor, near its caches."""
    if config.micro_batch:
        return max(size for size in divisors(rows) if size <= config.micro_batch)
    near_caches = cpu and config.speed is not Speed.library
    most = min(fitting, max(1, _CACHED_TOKENS // row_tokens) if near_caches else config.batch_size)
    return max(size for size in divisors(rows) if size <= most)
