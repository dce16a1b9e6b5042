"""Counts of weights, adapters and optimiser state, exact against the real models, made without memory for weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi_runner.config import places
from phi_runner.config.architectures import ARCHITECTURES, LINEAR_LAYERS, Architecture
from phi_runner.config.schema import RunConfig, TrainConfig
from phi_runner.plan.bands import Missing
from phi_runner.plan.shape import Shape, counts, shape_of
from phi_runner.store import Store
from tests.config.configs import config_of

pytestmark = pytest.mark.filterwarnings("default")  # PEFT's and torch's own, while they look at weights without data
_PRESETS = sorted(name for name, preset in places.presets("model").items() if preset.kind in ("hub", "nano"))
_METHODS = {
    "full": "train=full",
    "lora": "train=lora",
    "one target": "train=lora train.rank=3 train.targets=[down_proj]",
    "two targets": "train=lora train.rank=64 train.targets=[o_proj,qkv_proj]",
    "dora": "train=dora train.rank=8",
    "dpo with the head": "train=dpo train.rank=4 train.targets=[qkv_proj,lm_head]",
    "dpo of all weights": "train=dpo train.all_weights=true",
}


def _shape(config: RunConfig, folder: Path) -> Shape:
    found = shape_of(config, store=Store(folder), keys={})
    assert isinstance(found, Shape)
    return found


def _on_meta(architecture: Architecture) -> Any:
    """Make the model that the numbers describe, as its `config.json` would, on the device that holds no numbers."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    made = Phi3Config(
        vocab_size=architecture.vocab_size, hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size, num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads, num_key_value_heads=architecture.kv_heads,
        max_position_embeddings=architecture.context, original_max_position_embeddings=architecture.context,
        tie_word_embeddings=architecture.tied, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={
            "rope_type": "default", "rope_theta": architecture.rope_theta,
            "partial_rotary_factor": architecture.partial_rotary,
        },
    )  # fmt: skip
    with torch.device("meta"):
        return Phi3ForCausalLM(made)


def _adapted(model: Any, train: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=train.rank, lora_alpha=train.alpha, target_modules=list(train.targets), use_dora=train.kind == "dora",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, settings)


def _learnt(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("preset", _PRESETS)
def test_every_presets_weights_are_counted_exactly(preset: str, tmp_path: Path) -> None:
    config = config_of(f"model={preset}")
    shape = _shape(config, tmp_path)
    real = _on_meta(shape.architecture)
    assert counts(shape, config.train).parameters == sum(weight.numel() for weight in real.parameters())


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("preset", ["phi3_nano", "phi3_mini_4k", "phi3_medium", "phi4_mini"])
def test_what_a_method_trains_is_counted_exactly(preset: str, method: str, tmp_path: Path) -> None:
    config = config_of(f"model={preset} {_METHODS[method]}")
    shape = _shape(config, tmp_path)
    model, train = _on_meta(shape.architecture), config.train
    if "full" not in method and "all weights" not in method:
        model = _adapted(model, train)
    assert counts(shape, train).trained == _learnt(model)


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_the_optimisers_state_is_counted_exactly(method: str, tmp_path: Path) -> None:
    import torch

    config = config_of(f"model=phi3_nano train={method}")
    shape = _shape(config, tmp_path)
    model = _on_meta(shape.architecture)
    model = model if method == "full" else _adapted(model, config.train)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, foreach=False)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    moments = sum(value.numel() for state in optimiser.state.values() for value in state.values() if value.dim())
    assert counts(shape, config.train).optimiser == moments


def test_a_target_that_the_model_does_not_have_adds_nothing(tmp_path: Path) -> None:
    none: TrainConfig = config_of("train=lora train.targets=[q_proj,gate_proj]").train
    assert counts(_shape(config_of(), tmp_path), none).trained == 0


def test_all_linear_layers_are_known() -> None:
    model = _on_meta(ARCHITECTURES["microsoft/phi-4"])
    found = {name.rpartition(".")[2] for name, part in model.named_modules() if type(part).__name__ == "Linear"}
    assert found - {"lm_head"} == set(LINEAR_LAYERS)


def test_a_folders_own_numbers_are_read(tmp_path: Path) -> None:
    model = _on_meta(ARCHITECTURES["microsoft/Phi-4-mini-instruct"])
    model.config.save_pretrained(tmp_path)
    config = config_of(f"model=local model.path={tmp_path}")
    found = counts(_shape(config, tmp_path), config.train)
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert not found.at_most


def test_a_nano_models_vocabulary_is_an_upper_bound_until_it_was_trained(tmp_path: Path) -> None:
    config = config_of("")
    assert counts(_shape(config, tmp_path), config.train).at_most


@pytest.mark.parametrize(
    ("overrides", "written", "said"),
    [
        ("model=phi3_mini_4k model.repo=someone/unheard-of", None, "someone/unheard-of: no preset names it"),
        ("model=local model.path={folder}", None, "config.json cannot be read"),
        ("model=local model.path={folder}", "{}", "is of type None, not phi3"),
        ("model=local model.path={folder}", '{"model_type": "phi3", "hidden_size": "wide"}', "cannot be read"),
        ("model=local model.path={folder}", '{"model_type": "llama"}', "is of type llama"),
    ],
)
def test_a_size_that_is_not_known_is_missing_with_a_reason(
    overrides: str, written: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    if written:
        (tmp_path / "config.json").write_text(written)
    found = shape_of(config_of(overrides.format(folder=tmp_path)), store=Store(tmp_path), keys={})
    assert isinstance(found, Missing)
    assert said in found.what
    assert "\n" not in found.what


def test_a_model_of_the_hub_that_was_downloaded_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--someone--small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    told = {"model_type": "phi3", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 100}  # fmt: skip
    (snapshot / "config.json").write_text(json.dumps(told))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    config = config_of("model=phi3_mini_4k model.repo=someone/small")
    found = _shape(config, tmp_path / "store").architecture
    assert (found.hidden_size, found.kv_heads, found.vocab_size) == (64, 4, 100)
