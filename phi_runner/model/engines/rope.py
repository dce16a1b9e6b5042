"""Rotary position embeddings, taken from a loaded model; long-context models have a second set for long texts."""

from dataclasses import dataclass
from typing import Any

import torch

_STATIC = {"default", "linear", "llama3", "yarn", "longrope"}
"""Kinds whose frequencies do not follow the length of the text, but for longrope's one switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Frequencies, (width / 2,), and the factor on sine and cosine."""

    short: torch.Tensor
    long: torch.Tensor
    switch: int | None
    """Texts of more tokens than this are turned by `long` from their first token on; None: there is one set."""
    scaling: float

    @classmethod
    def of(cls, model: Any) -> "Rope":
        """Read them from a transformers model; raises ValueError for a kind that this engine does not know."""
        module = model.model.rotary_emb
        if module.rope_type not in _STATIC:
            raise ValueError(f"rope type {module.rope_type} changes with the text's length in a way not known here")
        switch = None
        short = long = module.inv_freq.detach().clone().float()
        if module.rope_type == "longrope":
            switch = int(module.config.rope_parameters["original_max_position_embeddings"])
            nothing = torch.zeros(1, dtype=torch.float32, device=short.device)
            module(nothing, torch.tensor([[switch]], device=short.device))  # the module swaps its set by the position
            long = module.inv_freq.detach().clone().float()
            module(nothing, torch.tensor([[0]], device=short.device))
            short = module.inv_freq.detach().clone().float()
        return cls(short=short, long=long, switch=switch, scaling=float(module.attention_scaling))

    def tables(self, positions: torch.Tensor, *, long: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosine and signed sine of each position, (tokens, 1, width); `long` says which set a token takes."""
        frequencies = self.short if long is None else torch.where(long[:, None], self.long, self.short)
        angles = positions[:, None].float() * frequencies
        cosine, sine = angles.cos() * self.scaling, angles.sin() * self.scaling
        return torch.cat((cosine, cosine), -1)[:, None], torch.cat((-sine, sine), -1)[:, None]


def turn(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Return queries or keys, (tokens, heads, width), turned; a model may turn only the first part of the width."""
    width = cosine.shape[-1]
    turned, rest = states[..., :width], states[..., width:]
    half = width // 2
    swapped = torch.cat((turned[..., half:], turned[..., :half]), -1)
    turned = torch.addcmul(turned * cosine, swapped, sine)
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned
