"""Weights kept in bf16: half the memory, and at a small rate most of them never change."""

from collections.abc import Callable
from typing import Any

from phi_runner.config.schema import TrainConfig, Weights

_WORTH_TELLING = 0.05
_SAMPLE = 1_000_000
"""Weights that are looked at of each tensor; a share needs no more."""


def cast(model: Any, config: TrainConfig, *, warn: Callable[[str], None]) -> None:
    """Give the weights the type that the config names; warn when its rate is too small for them."""
    if config.weights is Weights.fp32:
        return
    import torch

    model.to(torch.bfloat16)
    share = frozen_share(model, rate=config.learning_rate)
    if share > _WORTH_TELLING:
        warn(
            f"train.weights=bf16 at train.learning_rate={config.learning_rate:g}: a step is too small to change "
            f"{share:.0%} of the weights, which bf16 keeps to 8 bits; type train.weights=fp32 (same speed, the "
            "hardware still multiplies bf16), train=lora, or a higher rate"
        )


def frozen_share(model: Any, *, rate: float) -> float:
    """Return the share of trained bf16 weights that a step of `rate` cannot change.

    An early AdamW step moves a weight by about the rate; it is lost when that is less than half the distance to the
    next bf16 number, 2^-8 of the weight's power of two.
    """
    import torch

    lost = total = 0
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        some = weight.detach().flatten()[:_SAMPLE].float().abs()
        _mantissa, exponent = torch.frexp(some)
        half_step = torch.ldexp(torch.ones_like(some), exponent - 9)
        share = float((rate < half_step).float().mean())
        lost += share * weight.numel()
        total += weight.numel()
    return lost / total if total else 0.0
