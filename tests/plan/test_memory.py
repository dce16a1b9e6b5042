"""The memory of a plan: what autograd really keeps, what the runner really chooses, what fits and what then helps."""

from pathlib import Path
from typing import Any

import pytest

from phi_runner.config.architectures import ARCHITECTURES, Architecture
from phi_runner.config.schema import Choice, RunConfig, StageName
from phi_runner.plan import memory
from phi_runner.plan.activations import kept
from phi_runner.plan.bands import GIB, Band, Estimates, Memory, Missing
from phi_runner.plan.division import divide, with_available
from phi_runner.plan.estimate import estimate
from phi_runner.plan.place import Place, place_of
from phi_runner.plan.shape import Shape, counts
from phi_runner.store import Store
from tests.config.configs import config_of

pytestmark = pytest.mark.filterwarnings("default")  # PEFT's and torch's own
_SMALL = Architecture(
    family="phi3", hidden_size=64, intermediate_size=160, layers=2, heads=4, kv_heads=4, vocab_size=512, context=512,
    original_context=512, tied=True,
)  # fmt: skip
_AZURE = "azure.subscription=00000000-0000-0000-0000-000000000001"


def _model(architecture: Architecture, train: Any) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Phi3Config, Phi3ForCausalLM

    from phi_runner.model.training import attention

    torch.manual_seed(0)
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=architecture.vocab_size, hidden_size=architecture.hidden_size,
            intermediate_size=architecture.intermediate_size, num_hidden_layers=architecture.layers,
            num_attention_heads=architecture.heads, num_key_value_heads=architecture.kv_heads,
            max_position_embeddings=512, original_max_position_embeddings=512, tie_word_embeddings=True,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    model.set_attn_implementation(attention.register())
    if train.kind == "full":
        return model.train()
    settings = LoraConfig(
        r=train.rank, lora_alpha=train.alpha, lora_dropout=train.dropout, target_modules=list(train.targets),
        use_dora=train.kind == "dora", task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, settings).train()


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("typed", "near"),
    [("train=full", 0.001), ("train=lora", 0.01), ("train=lora train.dropout=0", 0.01), ("train=dora", 0.05)],
)
def test_activations_are_what_autograd_keeps(typed: str, near: float, kv_heads: int, bf16: bool) -> None:
    from dataclasses import replace

    from phi_runner.model.device import Device
    from phi_runner.model.training import memory as measured

    train = config_of(f"{typed}").train
    architecture = replace(_SMALL, kv_heads=kv_heads)
    model = _model(architecture, train)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = Device(name="cpu", bf16=bf16, why="")
    short, longer = (measured._kept(core, tokens=tokens, device=device) for tokens in (128, 256))
    real = (longer - short) / 128
    assert kept(architecture, train, bf16=bf16, cuda=False).per_token == pytest.approx(real, rel=near)


def test_the_runner_measures_what_the_plan_expects_it_to() -> None:
    from phi_runner.model.device import Device
    from phi_runner.model.training import memory as measured
    from phi_runner.plan.division import _need

    config = config_of("train=full")
    place, shape = _processor(config, gib=8.0), Shape(architecture=_SMALL, source="")
    model = _model(_SMALL, config.train)
    real = measured.need(model, device=Device(name="cpu", bf16=False, why=""), adapters=None)
    planned = _need(config.train, shape, counts(shape, config.train), place)
    assert planned.fixed == pytest.approx(real.fixed, rel=0.001)
    assert planned.per_token == pytest.approx(real.per_token, rel=0.001)
    assert planned.per_token_checkpointed == pytest.approx(real.per_token_checkpointed, rel=0.001)


def _processor(config: RunConfig, *, gib: float) -> Place:
    place = place_of(config)
    assert isinstance(place, Place)
    return with_available(place, gib, source="a test")


def _train(config: RunConfig, architecture: Architecture, *, gib: float = 1000.0) -> Memory:
    shape, place = Shape(architecture=architecture, source=""), _processor(config, gib=gib)
    counted = counts(shape, config.train)
    no_text = Missing(what="no text")
    return memory.training(config, shape, counted, place, divide(config, shape, counted, place, no_text))


def _likely(found: Memory) -> float:
    assert isinstance(found.per_process, Band)
    assert found.per_process.low < found.per_process.likely < found.per_process.high
    return found.per_process.likely


_MINI = ARCHITECTURES["microsoft/Phi-3-mini-4k-instruct"]
_HUB = "model=phi3_mini_4k train.precision=fp32"


def test_a_full_training_takes_sixteen_bytes_a_weight_and_more() -> None:
    typed = "train=full train.gradient_checkpointing=always train.micro_batch=1"
    full = _likely(_train(config_of(f"{_HUB} {typed}"), _MINI))
    assert full > 16 * _MINI.parameters / GIB
    assert full < 22 * _MINI.parameters / GIB


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("train=full", "train=lora"),
        ("train=full train.max_length=4096", "train=full train.max_length=1024"),
        ("train=full train.gradient_checkpointing=never", "train=full train.gradient_checkpointing=always"),
        ("train=full train.micro_batch=4", "train=full train.micro_batch=1"),
        ("train=full", "train=full train.weights=bf16"),
        ("train=dora", "train=lora"),
        ("train=dpo train.all_weights=true", "train=dpo"),
        ("train=full compute.processes=4", "train=full compute.processes=4 compute.strategy=fsdp"),
    ],
)
def test_what_needs_less_is_estimated_as_less(more: str, less: str) -> None:
    needs = [_likely(_train(config_of(f"{_HUB} {typed}"), _MINI)) for typed in (more, less)]
    assert needs[0] > 1.02 * needs[1]


def test_checkpointing_and_rows_at_once_are_what_the_runner_will_choose() -> None:
    config = config_of(f"{_HUB} train=full train.max_length=2048 train.batch_size=4")
    roomy, tight = _train(config, _MINI, gib=400.0), _train(config, _MINI, gib=75.0)
    assert "train.gradient_checkpointing=never" in roomy.chosen
    assert "train.gradient_checkpointing=always" in tight.chosen
    assert roomy.chosen[0] == "train.micro_batch=1"  # near a processor's caches


def _estimate(overrides: str, tmp_path: Path) -> Estimates:
    return estimate(config_of(overrides), store=Store(tmp_path), keys={}, reused=(), dataset=None)


def test_what_does_not_fit_is_told_with_changes_that_do(tmp_path: Path) -> None:
    found = _estimate(f"model=phi4 data=ultrachat compute=azure_gpu train=full {_AZURE}", tmp_path)
    peak = found.memory[0]
    assert (peak.stage, peak.fits) == (StageName.train, False)
    assert any(line.startswith("type train=qlora") for line in found.advice)
    assert all("GiB" in line and "\n" not in line for line in found.advice)


def test_advice_names_the_cheapest_size_that_would_do(tmp_path: Path) -> None:
    found = _estimate(
        "model=phi3_mini_4k data=ultrachat compute=azure_gpu compute.vm_size=Standard_NC4as_T4_v3 train=lora "
        f"train.max_length=1024 {_AZURE}", tmp_path,
    )  # fmt: skip
    assert found.memory[0].fits is False
    assert any("compute.vm_size=Standard_" in line and "USD an hour (list price of" in line for line in found.advice)


def test_a_gpu_that_nobody_can_ask_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phi_runner import machine

    monkeypatch.setenv("PATH", str(tmp_path))
    machine.here.cache_clear()
    found = _estimate("model=phi3_mini_4k compute=gpu train=qlora", tmp_path)
    machine.here.cache_clear()
    peak = found.memory[0]
    assert peak.fits is None
    assert isinstance(peak.per_device, Band)
    assert peak.per_device.likely < 16
    assert any("nvidia-smi" in line for line in found.missing)


def test_a_model_that_is_not_known_leaves_its_figures_out(tmp_path: Path) -> None:
    found = _estimate("model=phi3_mini_4k model.repo=someone/unheard-of", tmp_path)
    assert found.memory == ()
    assert isinstance(found.counts, Missing)
    assert found.missing


def test_nothing_heavy_is_loaded_to_estimate() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom phi_runner.plan import estimate\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'azure') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


def test_checkpointing_typed_is_checkpointing_estimated() -> None:
    always = config_of(f"{_HUB} train=full train.gradient_checkpointing=always")
    assert always.train.gradient_checkpointing is Choice.always
    assert "train.gradient_checkpointing=always" in _train(always, _MINI).chosen
