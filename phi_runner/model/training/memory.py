"""How much memory a training needs, measured on a short row, and how much there is."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from phi_runner import machine
from phi_runner.model.device import Device
from phi_runner.model.training.room import SHARE, Need

_FP32 = 4
_PROBED = 128, 256
"""Tokens of the rows that are measured."""


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
        return int(SHARE * torch.cuda.mem_get_info(device.name)[0])
    return int(SHARE * machine.memory_gib() * 2**30)
