"""Dialogues that lie end to end: each sees itself alone, whatever the lengths, heads and windows; never silently."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from phi_runner.model.training import attention, loss

_LENGTHS = (5, 1, 23, 40)


def _model(*, kv_heads: int = 4, window: int | None = None) -> Any:
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=kv_heads, max_position_embeddings=128, original_max_position_embeddings=128,
            sliding_window=window, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.3,
        )
    )  # fmt: skip
    loss.install(model)
    return model


def _row() -> dict[str, Any]:
    ids = torch.randint(3, 90, (1, sum(_LENGTHS)), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in _LENGTHS])[None]
    bounds = torch.tensor([0, *_LENGTHS]).cumsum(0).int()
    return {"input_ids": ids, "position_ids": positions, "cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}


def _alone(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return each dialogue's logits when it is asked by itself, by transformers' eager attention."""
    model.set_attn_implementation("eager")
    bounds = torch.tensor([0, *_LENGTHS]).cumsum(0).tolist()
    return torch.cat([model(ids[:, start:end], use_cache=False).logits for start, end in pairwise(bounds)], 1)


@pytest.mark.parametrize("settings", [{}, {"kv_heads": 2}, {"window": 8}, {"window": 64}], ids=str)
def test_a_dialogue_in_a_row_of_many_is_what_it_is_alone(settings: dict[str, Any]) -> None:
    model, row = _model(**settings), _row()
    expected = _alone(model, row["input_ids"])
    model.set_attn_implementation(attention.register())
    assert (model(**row, use_cache=False).logits - expected).abs().max() < 2e-5


def test_what_another_dialogue_says_changes_neither_loss_nor_gradient() -> None:
    model, row = _model(), _row()
    model.set_attn_implementation(attention.register())
    labels = torch.full_like(row["input_ids"], -100)
    labels[:, 7:29] = row["input_ids"][:, 7:29]  # the third dialogue is learnt
    found = []
    for change in (0, 1):
        ids = row["input_ids"].clone()
        ids[:, :6] = (ids[:, :6] + change) % 90
        ids[:, 29:] = (ids[:, 29:] + change) % 90
        model.zero_grad()
        total = model(**row | {"input_ids": ids}, labels=labels, summed_loss=True).loss
        total.backward()
        found.append((total.item(), model.model.layers[0].self_attn.qkv_proj.weight.grad.clone()))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_several_dialogues_without_their_bounds_are_refused() -> None:
    model, row = _model(), _row()
    model.set_attn_implementation(attention.register())
    del row["cu_seq_lens_q"], row["cu_seq_lens_k"]
    with pytest.raises(ValueError, match="they would see one another"):
        model(**row, use_cache=False)


def test_padded_rows_and_generation_go_the_librarys_way() -> None:
    model = _model()
    ids = torch.randint(3, 90, (2, 9))
    mask = torch.tensor([[1] * 9, [0] * 4 + [1] * 5])
    answers = []
    for name in ("sdpa", attention.register()):
        model.set_attn_implementation(name)
        answers.append(model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False))
    assert torch.equal(*answers)
