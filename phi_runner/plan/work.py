"""How many operations a token costs, by the model's shape and the method: 6 a weight where all of them are trained."""

from dataclasses import dataclass

from phi_runner.config.architectures import Architecture
from phi_runner.config.schema import DpoTrain, TrainConfig
from phi_runner.plan.activations import linear_weights
from phi_runner.plan.shape import adapter_weights, trains_adapters

_FORWARD, _BY_INPUT, _BY_WEIGHT = 2, 2, 2
"""Operations a weight and token: a product and a sum forward, and as many for each of the two gradients."""
_LIBRARY_HEAD = 2
"""The library's loss computes the logits once more in the backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Operations of one token."""

    trained: float
    """Forward, backward, and forward again where activations are not kept."""
    read: float
    """Forward only, as held-out rows are measured."""


def work(
    architecture: Architecture, train: TrainConfig, *, attended: float, checkpointed: bool, fused_loss: bool
) -> Work:
    """Return the operations of a token that looks back at `attended` / 2 others on average."""
    body, head = linear_weights(architecture), architecture.vocab_size * architecture.hidden_size
    adapters = trains_adapters(train)
    added = adapter_weights(architecture, train) if adapters else 0
    looking = 2 * architecture.layers * architecture.hidden_size * attended  # two products, half of the square
    read = _FORWARD * (body + head + added) + looking
    backward = _BY_INPUT * (body + head) + 2 * looking
    backward += (_BY_INPUT + _BY_WEIGHT) * added if adapters else _BY_WEIGHT * (body + head)
    again = _FORWARD * (body + added) + looking if checkpointed else 0.0
    logits = 0 if fused_loss else _LIBRARY_HEAD * head
    reference = read if isinstance(train, DpoTrain) else 0.0
    return Work(trained=read + backward + again + logits + reference, read=read)
