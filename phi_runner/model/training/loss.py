"""Cross entropy over a large vocabulary without its logits: labelled positions only, a few hundred at a time.

The gradients are made on the way forward, while a piece's logits lie in the cache, so that nothing of the size of the
vocabulary is kept or computed again. TRL's fused head does the like in Triton; without CUDA it runs as plain operations
over every position, labelled or not, and was most of a small model's step (measured).
"""

import functools
import types
from typing import Any

import torch
from transformers.modeling_outputs import CausalLMOutput

from phi_runner.model.tokens import IGNORED

_PIECE_BYTES = 64 << 20
_LEAST_ROWS = 256
"""A piece's logits: smaller ones make narrow products (16 MiB: 54 GFLOP/s, 64 MiB: 68, all at once: 70, of 77)."""


class _SummedCrossEntropy(torch.autograd.Function):
    """Sum of the cross entropies of `hidden @ head.T` against `wanted`, in nats."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the sum; hidden (positions, width), head (vocabulary, width), wanted (positions,)."""
        kind = _multiplied_in(hidden)
        ctx.kinds = hidden.dtype, head.dtype
        for_hidden, for_head = ctx.needs_input_grad[:2]
        with torch.autocast(hidden.device.type, enabled=False):
            total, hidden_grad, head_grad = _pieces(
                hidden.to(kind), head.to(kind), wanted, for_hidden=for_hidden, for_head=for_head
            )
        ctx.save_for_backward(hidden_grad, head_grad)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradients that the forward pass has made."""
        grads = zip(ctx.saved_tensors, ctx.kinds, strict=True)
        # once only, as a loss is: scaled where they lie, since the head's is as large as the head
        return *(None if grad is None else grad.mul_(upstream).to(kind) for grad, kind in grads), None


def _multiplied_in(hidden: torch.Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _pieces(
    hidden: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor, *, for_hidden: bool, for_head: bool
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return the sum and, where asked for, its gradients by `hidden` and by `head`, the latter gathered in fp32."""
    rows = max(_LEAST_ROWS, _PIECE_BYTES // (4 * head.shape[0]))
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    hidden_grad = torch.empty_like(hidden) if for_hidden else None
    head_grad = torch.zeros_like(head, dtype=torch.float32) if for_head else None
    for piece in range(0, hidden.shape[0], rows):
        here, labels = hidden[piece : piece + rows], wanted[piece : piece + rows, None]
        logits = (here @ head.T).float()
        total += (torch.logsumexp(logits, -1, keepdim=True) - logits.gather(1, labels)).sum()
        if not (for_hidden or for_head):
            continue
        slope = torch.softmax(logits, -1, out=logits)
        slope.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=slope.dtype))
        slope = slope.to(hidden.dtype)
        if hidden_grad is not None:
            torch.mm(slope, head, out=hidden_grad[piece : piece + rows])
        if head_grad is None:
            continue
        if head_grad.dtype is slope.dtype:
            head_grad.addmm_(slope.T, here)
        else:
            head_grad += slope.T @ here
    return total, hidden_grad, head_grad


def summed_cross_entropy(hidden: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the summed cross entropy, in nats, of positions (n, width) against tokens (n,) by a head without bias."""
    total: torch.Tensor = _SummedCrossEntropy.apply(hidden, head, wanted)  # type: ignore[no-untyped-call]
    return total


def suits(core: Any) -> bool:
    """Say whether a model's logits are a plain product of its last hidden state and its head, as Phi-3's are."""
    head = core.get_output_embeddings()
    return core.config.model_type == "phi3" and type(head).__name__ == "Linear" and head.bias is None


def install(core: Any) -> None:
    """Teach a model `model(..., labels=..., summed_loss=True)`, which returns the sum over labelled positions.

    Inside `forward`, because gradients of several processes, sharded weights and autocast meet the model only there.
    """
    plain = core.forward

    @functools.wraps(type(core).forward)
    def forward(self: Any, *arguments: Any, summed_loss: bool = False, **more: Any) -> Any:
        if not summed_loss:
            return plain(*arguments, **more)
        labels = more.pop("labels")
        hidden = self.model(*arguments, **more | {"use_cache": False}).last_hidden_state[:, :-1]
        labelled = labels[:, 1:] != IGNORED
        head = self.get_output_embeddings().weight
        return CausalLMOutput(loss=summed_cross_entropy(hidden[labelled], head, labels[:, 1:][labelled]))

    core.forward = types.MethodType(forward, core)
