"""The fused cross entropy against torch's own: the same number and gradients, in pieces, without logits kept."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from phi_runner.model.training import loss


def _problem(rows: int = 700, *, vocabulary: int = 301) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 24, generator=chance).requires_grad_()
    head = torch.randn(vocabulary, 24, generator=chance).requires_grad_()
    return hidden, head, torch.randint(0, vocabulary, (rows,), generator=chance)


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 700])
def test_sum_and_gradients_equal_torchs_whatever_the_pieces(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_PIECE_BYTES", 1)  # pieces of the least size
    hidden, head, wanted = _problem(rows)
    total = loss.summed_cross_entropy(hidden, head, wanted)
    (total / max(1, rows)).backward()
    found = total.item(), hidden.grad, head.grad
    hidden, head, wanted = _problem(rows)
    expected = cross_entropy(hidden @ head.T, wanted, reduction="sum")
    (expected / max(1, rows)).backward()
    assert found[0] == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(found[1], hidden.grad, atol=1e-6)
    assert torch.allclose(found[2], head.grad, atol=1e-6)


def test_a_frozen_head_gets_no_gradient_and_measuring_makes_none() -> None:
    hidden, head, wanted = _problem(10)
    loss.summed_cross_entropy(hidden, head.detach(), wanted).backward()
    assert hidden.grad is not None
    assert head.grad is None
    with torch.no_grad():
        assert not loss.summed_cross_entropy(hidden, head, wanted).requires_grad


def test_under_bf16_autocast_the_products_are_bf16_and_the_gradients_fp32() -> None:
    hidden, head, wanted = _problem(40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss.summed_cross_entropy(hidden, head, wanted)
    total.backward()
    exact = cross_entropy(hidden.detach() @ head.detach().T, wanted, reduction="sum").item()
    assert total.item() != exact
    assert total.item() == pytest.approx(exact, rel=2e-2)
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.float32
