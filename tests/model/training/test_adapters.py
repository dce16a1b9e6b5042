"""Which weights each method trains, and what is refused before a base is opened."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

from phi_runner.config.architectures import LINEAR_LAYERS
from phi_runner.config.schema import DoraTrain, FullTrain, LoraTrain, QloraTrain
from phi_runner.errors import TrainFailed
from phi_runner.model.training.adapters import adapters, linear_layers, prepared, quantization
from tests import runs

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT asks by that name
_SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.device("meta"):
        return Phi3ForCausalLM(Phi3Config(**_SIZES))


def test_all_weights_need_no_adapter(model: Any) -> None:
    assert adapters(FullTrain(**runs.train_values()), model) is None
    assert prepared(model) is model


def test_every_linear_layer_of_a_block_gets_one_and_the_head_none(model: Any) -> None:
    from peft import get_peft_model

    made = adapters(LoraTrain(**runs.train_values(), rank=4, alpha=8), model)
    assert linear_layers(model) == list(LINEAR_LAYERS)
    assert (made.r, made.lora_alpha, made.use_dora, made.bias) == (4, 8, False, "none")
    with torch.device("meta"):
        both = get_peft_model(Phi3ForCausalLM(Phi3Config(**_SIZES)), made)
    trained = {
        name.split(".lora_")[0].rpartition(".")[2] for name, part in both.named_parameters() if part.requires_grad
    }
    assert trained == set(LINEAR_LAYERS)


def test_dora_trains_magnitudes_too(model: Any) -> None:
    assert adapters(DoraTrain(**runs.train_values()), model).use_dora


def test_targets_that_match_nothing_name_those_that_exist(model: Any) -> None:
    lora = LoraTrain(**runs.train_values(), targets=["q_proj", "o_proj"])
    with pytest.raises(TrainFailed, match=r"has no layer q_proj; it has qkv_proj, o_proj, gate_up_proj, down_proj"):
        adapters(lora, model)
    with torch.device("meta"):
        other = LlamaForCausalLM(LlamaConfig(**_SIZES))
    with pytest.raises(
        TrainFailed, match=r"type train\.targets=\[o_proj,down_proj,gate_proj,k_proj,q_proj,up_proj,v_proj\]"
    ):
        adapters(LoraTrain(**runs.train_values()), other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without CUDA is refused")
def test_four_bits_need_cuda_and_the_refusal_names_what_works() -> None:
    assert quantization(LoraTrain(**runs.train_values())) is None
    with pytest.raises(TrainFailed, match=r"torch sees no CUDA device here: type train=lora"):
        quantization(QloraTrain(**runs.train_values()))
