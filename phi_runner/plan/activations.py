"""What a forward pass keeps for the backward pass, by the model's shape: autograd's own count, without a model.

Every term is a tensor that an operation of transformers' Phi-3 saves; a test holds the sum against `memory.need`, which
measures it.
"""

from dataclasses import dataclass

from phi_runner.config.architectures import LINEAR_LAYERS, Architecture
from phi_runner.config.schema import DoraTrain, DpoTrain, LoraTrain, QloraTrain, TrainConfig, Weights
from phi_runner.plan.bands import Counts
from phi_runner.plan.shape import HEAD, Shape, adapter_weights, linear_sizes, trains_adapters

FP32 = 4
_BF16 = 2
_POSITION = 8
_FOUR_BITS = {True: 4.127 / 8, False: 4.5 / 8}
"""Bytes of a weight in 4 bits with its constants, quantized once more or not (Dettmers et al. 2023)."""
_DORA_OUTPUTS = 2
"""DoRA keeps the base's answer and the scaled one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that wait for the backward pass."""

    fixed: float
    """Whatever the number of tokens: copies of the weights in the type that is multiplied in."""
    layer: float
    """Of one layer, a token."""
    around: float
    """Before the first layer and after the last one, a token."""
    layers: int
    stream: float
    """What goes from layer to layer, a token: all that gradient checkpointing keeps of a layer."""

    @property
    def per_token(self) -> float:
        """Return the bytes of a token."""
        return self.layers * self.layer + self.around

    @property
    def per_token_checkpointed(self) -> float:
        """Return the bytes of a token when one layer at a time is computed again."""
        return self.layers * self.stream + self.layer + self.around


def linear_weights(architecture: Architecture) -> int:
    """Count the weights of the layers' matrices."""
    sizes = linear_sizes(architecture)
    return architecture.layers * sum(taken * given for taken, given in (sizes[name] for name in LINEAR_LAYERS))


def weight_bytes(train: TrainConfig, shape: Shape, counts: Counts) -> float:
    """Return the bytes of all weights as training holds them, adapters and a reference model included."""
    base = counts.parameters
    if isinstance(train, QloraTrain):
        packed = linear_weights(shape.architecture)
        return _FOUR_BITS[train.double_quantization] * packed + FP32 * (base - packed + counts.trained)
    width = _BF16 if train.weights is Weights.bf16 else FP32
    added = counts.trained if trains_adapters(train) else 0
    reference = base if isinstance(train, DpoTrain) and train.all_weights else 0
    return width * (base + reference) + FP32 * added


def kept(architecture: Architecture, train: TrainConfig, *, bf16: bool, cuda: bool) -> Kept:
    """Return what training keeps; `bf16` says what matrices are multiplied in."""
    width = _BF16 if bf16 else FP32
    head = architecture.hidden_size // architecture.heads
    adapters = trains_adapters(train)
    norm = FP32 * architecture.hidden_size * (1 if adapters else 2)  # a frozen scale does not need what it scales
    layer: float = 2 * (norm + FP32) + _attention(architecture, width=width, cuda=cuda) + 3 * width * _up(architecture)
    layer += _adapted(architecture, train, width=width) if adapters else _inputs(architecture, width=width)
    around: float = norm + FP32 + 2 * FP32 * int(head * architecture.partial_rotary) + _POSITION
    around -= _before_the_first_adapter(architecture, train) if adapters else 0
    return Kept(
        fixed=_copies(architecture, train, bf16=bf16), layer=layer, around=around, layers=architecture.layers,
        stream=FP32 * architecture.hidden_size,
    )  # fmt: skip


def _up(architecture: Architecture) -> int:
    return architecture.intermediate_size


def _attention(architecture: Architecture, *, width: int, cuda: bool) -> float:
    """Return query, key and value as they go into the kernel, what comes out, and the sums behind its softmax."""
    head = architecture.hidden_size // architecture.heads
    query, key = architecture.heads * head, architecture.kv_heads * head
    if cuda:
        taken = query + 2 * key
    elif architecture.kv_heads in (1, architecture.heads):
        taken = query + key + (query + 2 * key)  # the value is a view of all three
    else:
        taken = 3 * query  # keys and values are repeated for every head
    return width * (taken + query) + FP32 * architecture.heads


def _inputs(architecture: Architecture, *, width: int) -> float:
    """Return the inputs of the four matrices, whose gradients need them."""
    return sum(width * taken for name, (taken, _given) in linear_sizes(architecture).items() if name != HEAD)


def _adapted(architecture: Architecture, train: TrainConfig, *, width: int) -> float:
    """Return what the adapters of a layer keep: their input, what dropout drew, and the narrow product."""
    assert isinstance(train, LoraTrain)  # noqa: S101 - asked only where adapters are trained
    found = 0.0
    for name, (taken, given) in linear_sizes(architecture).items():
        if name in train.targets and name != HEAD:
            found += width * (taken + train.rank) + (FP32 * taken if train.dropout else 0)
            found += _DORA_OUTPUTS * width * given if isinstance(train, DoraTrain) else 0
    return found


def _before_the_first_adapter(architecture: Architecture, train: TrainConfig) -> float:
    """Return what a later layer keeps and the first one does not: nothing before its first adapter is learnt."""
    assert isinstance(train, LoraTrain)  # noqa: S101 - asked only where adapters are trained
    drawn = FP32 * architecture.hidden_size if train.dropout and LINEAR_LAYERS[0] in train.targets else 0
    return FP32 * architecture.hidden_size + FP32 + drawn


def _copies(architecture: Architecture, train: TrainConfig, *, bf16: bool) -> float:
    """Return copies of weights: autocast's, all of them at once, or the layer that is being read out of 4 bits."""
    sizes = linear_sizes(architecture)
    if isinstance(train, QloraTrain):
        return _BF16 * max(taken * given for name, (taken, given) in sizes.items() if name != HEAD)
    found = _BF16 * linear_weights(architecture) if bf16 else 0.0
    if isinstance(train, DoraTrain):
        found += FP32 * linear_weights(architecture)  # adapter and base added up, to measure their rows
    if bf16 and trains_adapters(train):
        found += _BF16 * adapter_weights(architecture, train)
    return found
