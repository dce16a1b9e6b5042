"""The forward pass of a Phi-3 model over a batch of answers in any state, from the weights that transformers loaded.

transformers' own modules take one padded batch and spend, for a small model on a processor, most of a token's time
around the products; here prompts and answers of all lengths lie end to end, and each product runs once for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import embedding, rms_norm, silu

from phi_runner.model.answering import Sampling
from phi_runner.model.engines.attention import Part, abreast, ahead
from phi_runner.model.engines.draw import Draw
from phi_runner.model.engines.linear import Product, product
from phi_runner.model.engines.memory import Memory, Row, Segment
from phi_runner.model.engines.rope import Rope, turn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    norm_before: torch.Tensor
    norm_after: torch.Tensor
    qkv: Product
    out: Product
    gate_up: Product
    down: Product


class Decoder:
    """Weights and rotary embeddings of one model; the module that they come from is emptied."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self.context = int(config.max_position_embeddings)
        self.rope = Rope.of(model)
        self.heads = int(config.num_attention_heads)
        self._width = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self._window: int | None = getattr(config, "sliding_window", None)
        self._scale = self._width**-0.5
        self._eps = float(config.rms_norm_eps)
        self._embedding = model.model.embed_tokens.weight.detach()
        self.device, self._dtype = self._embedding.device, self._embedding.dtype
        self._pairs = int(config.num_key_value_heads)
        self._last_norm = model.model.norm.weight.detach()
        self._head = _taken(model.lm_head, keep=bool(config.tie_word_embeddings))
        self._layers = [_layer(module) for module in model.model.layers]

    def memory(self, *, budget: int) -> Memory:
        """Return room for keys and values, of that many bytes at most."""
        values = 2 * len(self._layers) * self._pairs * self._width
        return Memory(
            self._empty, bytes_per_token=values * self._dtype.itemsize, budget=budget, switch=self.rope.switch
        )

    def _empty(self, rows: int, capacity: int) -> list[torch.Tensor]:
        size = (rows, capacity, self._pairs, self._width)
        return [torch.zeros(size, dtype=self._dtype, device=self.device) for _part in range(2 * len(self._layers))]

    def draw(self, sampling: Sampling) -> Draw | None:
        """Return what draws an answer's tokens, None where the likeliest is taken."""
        return Draw(sampling, device=self.device) if sampling.temperature > 0 else None

    def likeliest(self, scores: torch.Tensor) -> list[int]:
        """Return the likeliest token of every row of scores."""
        found: list[int] = scores.argmax(-1).tolist()
        return found

    @torch.inference_mode()
    def forward(self, segments: Sequence[Segment], *, asked: Sequence[Segment]) -> torch.Tensor:
        """Take the next tokens of some answers and return the scores after the `asked` ones, (asked, vocabulary)."""
        ordered, parts = self._parts(segments)
        device = self.device
        tokens = torch.tensor([token for segment in ordered for token in segment.tokens], device=device)
        positions = [p for s in ordered for p in range(s.row.length, s.row.length + len(s.tokens))]
        long = None
        if any(segment.row.long for segment in ordered):
            long = torch.tensor([segment.row.long for segment in ordered for _token in segment.tokens], device=device)
        cosine, sine = self.rope.tables(torch.tensor(positions, device=device), long=long)
        states = embedding(tokens, self._embedding)
        cosine, sine = cosine.to(states.dtype), sine.to(states.dtype)
        for number, layer in enumerate(self._layers):
            states = states + layer.out(self._attended(number, layer, states, parts, cosine, sine))
            gate, up = layer.gate_up(self._norm(states, layer.norm_after)).chunk(2, dim=-1)
            states = states + layer.down(silu(gate).mul_(up))
        last, end = {}, 0
        for segment in ordered:
            end += len(segment.tokens)
            segment.row.length += len(segment.tokens)
            last[id(segment)] = end - 1
        wanted = states[torch.tensor([last[id(segment)] for segment in asked], dtype=torch.long, device=device)]
        return self._head(self._norm(wanted, self._last_norm))

    def _attended(
        self, number: int, layer: _Layer, states: torch.Tensor, parts: Sequence[tuple[int, Part]], cosine: torch.Tensor,
        sine: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        mixed = layer.qkv(self._norm(states, layer.norm_before)).view(len(states), -1, self._width)
        turned = turn(mixed[:, : self.heads + self._pairs], cosine, sine)
        query, key, value = turned[:, : self.heads], turned[:, self.heads :], mixed[:, self.heads + self._pairs :]
        seen, start = [], 0
        for count, part in parts:
            own = slice(start, start + count)
            seen.append(part(number, query[own], key[own], value[own]))
            start += count
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def _parts(self, segments: Sequence[Segment]) -> tuple[list[Segment], list[tuple[int, Part]]]:
        """Return the segments in the order of the batch, and the calls of attention with how many tokens each takes."""
        single = [segment for segment in segments if len(segment.tokens) == 1 and segment.row.length]
        several = [segment for segment in segments if len(segment.tokens) > 1 or not segment.row.length]
        single.sort(key=lambda segment: (segment.row.shelf.capacity, segment.row.index))
        parts: list[tuple[int, Part]] = []
        for _capacity, group in groupby(single, key=lambda segment: segment.row.shelf.capacity):
            members = list(group)
            parts.append((len(members), abreast(members, window=self._window, scale=self._scale)))
        for segment in several:
            parts.append((len(segment.tokens), ahead(segment, window=self._window, scale=self._scale)))
        return [*single, *several], parts

    def _norm(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if states.dtype is torch.float32:
            return rms_norm(states, weight.shape, weight, self._eps)
        exact = states.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self._eps)
        return weight * exact.to(states.dtype)  # rounded before the weight, as transformers does in half precision


def _layer(module: Any) -> _Layer:
    return _Layer(
        norm_before=module.input_layernorm.weight.detach(), norm_after=module.post_attention_layernorm.weight.detach(),
        qkv=_taken(module.self_attn.qkv_proj), out=_taken(module.self_attn.o_proj),
        gate_up=_taken(module.mlp.gate_up_proj), down=_taken(module.mlp.down_proj),
    )  # fmt: skip


def _taken(module: Any, *, keep: bool = False) -> Product:
    """Return the product with a module's weight and empty the module, so that no weight is held twice."""
    weight = module.weight.detach()
    result = product(weight, None if module.bias is None else module.bias.detach())
    if not keep:
        module.weight = torch.nn.Parameter(torch.empty(0), requires_grad=False)
    return result


def scores_of(decoder: Decoder, tokens: Sequence[int]) -> torch.Tensor:
    """Return the scores after all tokens, the last two taken one at a time as in an answer: (3, vocabulary)."""
    row = decoder.memory(budget=0).take(len(tokens))
    assert isinstance(row, Row)  # noqa: S101 - the first row always fits
    found = []
    for piece in (tokens[:-2], tokens[-2:-1], tokens[-1:]):
        segment = Segment(row=row, tokens=piece)
        found.append(decoder.forward([segment], asked=[segment])[0])
    return torch.stack(found)
