"""How much memory a training needs, measured on a short row, and how much there is."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from phi_runner.model.device import Device

_SHARE = 0.85
"""Of what is free; the rest is for the loss's pieces, the tracker, and the machine."""
_FP32 = 4
_PROBED = 128, 256
"""Tokens of the rows that are measured."""
_CGROUP = Path("/sys/fs/cgroup")


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


class _Saved:
    """Adds up what autograd keeps for the backward pass, each storage once, weights left out."""

    def __init__(self, weights: set[int]) -> None:
        self._seen = set(weights)
        self._kept: list[torch.Tensor] = []  # a freed tensor's address may come again
        self.bytes = 0

    def hooks(self) -> AbstractContextManager[None]:
        """Return the context inside which is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._kept.append(tensor)
            self.bytes += storage.nbytes()
        return tensor


def need(model: Any, *, device: Device, adapters: Any) -> Need:
    """Measure on two short rows, which go forward once each; no weight and no random state changes.

    `adapters` are LoRA's settings, or None where all weights are trained.
    """
    shape = model.config
    short, longer = (_kept(model, tokens=tokens, device=device) for tokens in _PROBED)
    per_token = max(0.0, (longer - short) / (_PROBED[1] - _PROBED[0]))  # what both keep alike is no token's
    trained = _adapter_weights(model, adapters) if adapters else sum(weight.numel() for weight in model.parameters())
    return Need(
        fixed=3 * _FP32 * trained
        + (longer - int(per_token * _PROBED[1]))
        + _FP32 * shape.vocab_size * shape.hidden_size,
        per_token=per_token,
        per_token_checkpointed=_FP32 * shape.num_hidden_layers * shape.hidden_size
        + per_token / shape.num_hidden_layers,
    )


def _kept(model: Any, *, tokens: int, device: Device) -> int:
    """Return the bytes that a row of so many tokens keeps for the backward pass, up to the last hidden state."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved, place = _Saved(weights), next(model.parameters()).device
    ids = torch.arange(tokens, device=place)[None] % model.config.vocab_size
    positions = torch.arange(tokens, device=place)[None]
    bounds = torch.tensor([0, tokens], dtype=torch.int32, device=place)
    more = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": tokens, "max_length_k": tokens}
    autocast = torch.autocast(place.type, dtype=torch.bfloat16, enabled=device.bf16)
    with torch.random.fork_rng(), saved.hooks(), autocast:
        model.base_model(input_ids=ids, position_ids=positions, use_cache=False, **more)
    return saved.bytes


def _adapter_weights(model: Any, adapters: Any) -> int:
    """Return how many weights low-rank adapters add."""
    targets = set(adapters.target_modules)
    layers = (part for name, part in model.named_modules() if name.rpartition(".")[2] in targets)
    return sum(adapters.r * (part.in_features + part.out_features) for part in layers)


def free_bytes(device: Device, *, limit_gib: float) -> int:
    """Return how much a training may take: the limit that was typed, or most of what is free."""
    if limit_gib:
        return int(limit_gib * 2**30)
    if not device.cpu:
        return int(_SHARE * torch.cuda.mem_get_info(device.name)[0])
    return int(_SHARE * min(psutil.virtual_memory().available, _left_in_cgroup()))


def _left_in_cgroup() -> float:
    """Return what the container still allows, which the machine's own figures do not show."""
    for most, used in (
        (_CGROUP / "memory.max", _CGROUP / "memory.current"),
        (_CGROUP / "memory/memory.limit_in_bytes", _CGROUP / "memory/memory.usage_in_bytes"),
    ):
        try:
            return int(most.read_text()) - int(used.read_text())
        except (OSError, ValueError):  # no such version of cgroups, or "max"
            continue
    return float("inf")
