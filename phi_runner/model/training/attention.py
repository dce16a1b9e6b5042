"""Attention for dialogues that lie end to end in one row: each attends to itself alone, and nothing else is computed.

transformers' SDPA lays such a row under a dense mask, tokens by tokens, most of it for pairs that may not meet; here
the bounds of the dialogues travel as `cu_seq_lens_q`, which TRL's collator makes.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "phi_runner_varlen"


def register() -> str:
    """Make the attention known to transformers and return the name under which a model chooses it."""
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)
    return NAME


def keep_from_compiler() -> None:
    """Let torch.compile pass the attention by: the bounds of the dialogues are numbers of each batch."""
    AttentionInterface.register(NAME, torch.compiler.disable(_attend))  # type: ignore[no-untyped-call]


def _mask(
    *, batch_size: int, q_length: int, kv_length: int, attention_mask: Any = None, allow_is_causal_skip: bool = True,
    **more: Any,
) -> Any:  # fmt: skip
    """Make no mask for a row of several dialogues, only a mark that there are several; for others, transformers' own.

    transformers says by `allow_is_causal_skip=False` that positions begin anew inside a row.
    """
    if batch_size == 1 and q_length == kv_length and attention_mask is None and not allow_is_causal_skip:
        return torch.empty(0)
    return sdpa_mask(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask,
        allow_is_causal_skip=allow_is_causal_skip, **more,
    )  # fmt: skip


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, *,
    scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None, max_length_q: int | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Return the attention of one row of dialogues, (1, tokens, heads, width); anything else goes the library's way."""
    several = attention_mask is not None and not attention_mask.numel()
    if several and cu_seq_lens_q is None:
        raise ValueError("a row of several dialogues came without cu_seq_lens_q: they would see one another")
    if cu_seq_lens_q is None or not (several or attention_mask is None) or query.shape[0] != 1:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return output
    if query.is_cuda and query.dtype is not torch.float32 and not dropout:
        return _on_cuda(query, key, value, cu_seq_lens_q, max_length_q, scaling=scaling, window=sliding_window), None
    groups = query.shape[1] // key.shape[1]
    lengths = cu_seq_lens_q.diff().tolist()
    divided = (torch.split(part, lengths, 2) for part in (query, repeat_kv(key, groups), repeat_kv(value, groups)))
    attended = [
        _alone(q, k, v, scaling=scaling, dropout=dropout, window=sliding_window).transpose(1, 2)
        for q, k, v in zip(*divided, strict=True)
    ]
    return torch.cat(attended, dim=1), None


def _alone(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float | None, dropout: float,
    window: int | None,
) -> torch.Tensor:  # fmt: skip
    """Return the causal attention of one dialogue; a model's sliding window matters to dialogues longer than it."""
    length = query.shape[2]
    if window is None or length <= window:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, dropout_p=dropout)
    place = torch.arange(length, device=query.device)
    behind = place[:, None] - place[None, :]
    seen = (behind >= 0) & (behind < window)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling, dropout_p=dropout)


def _on_cuda(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, longest: int | None, *,
    scaling: float | None, window: int | None,
) -> torch.Tensor:  # fmt: skip
    """Return the same from the FlashAttention kernels that torch brings, all dialogues in one call."""
    from torch.nn.attention.varlen import varlen_attn

    most = longest or int(bounds.diff().max())
    seen = (window - 1 if window is not None and most > window else -1, 0)
    rows, keys, values = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    attended = varlen_attn(
        rows, keys, values, bounds, bounds, most, most, scale=scaling, window_size=seen,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    assert isinstance(attended, torch.Tensor)  # noqa: S101 - a tuple only where its log-sum-exp is asked for
    return attended[None]
