"""What a method needs is asked for before anything runs, and each refusal names the nearest thing that works."""

import json
from pathlib import Path

import pytest

from phi_runner.config import methods
from phi_runner.config.check import check
from phi_runner.config.schema import LoraTrain, StageName
from phi_runner.errors import ConfigProblem
from tests.config.configs import config_of


def _told(overrides: str) -> str:
    return "; ".join(methods.problems(config_of(overrides)))


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        ("compute=cpu", "compute=cpu"),
        ("compute=slurm compute.gpu=false", "compute.gpu=false"),
        ("compute=azure_cpu", "compute=azure_cpu"),
        ("compute=azure_gpu azure=rehearsal", "azure=rehearsal"),
    ],
)
def test_what_only_cuda_can_do_is_refused_on_a_processor(overrides: str, where: str) -> None:
    assert f"{where}" in _told(f"train=qlora model=phi3_mini_4k {overrides}")
    assert _told(f"train=qlora model=phi3_mini_4k {overrides}").endswith("or train=lora")
    assert _told(f"train.attention=flash {overrides}").endswith("or train.attention=auto")
    assert _told(f"train.optimizer=adamw_8bit {overrides}").endswith("or train.optimizer=auto")
    assert not _told(f"train=lora {overrides}")


@pytest.mark.parametrize("compute", ["gpu", "gpus", "slurm", "azure_gpu"])
def test_with_cuda_only_the_library_can_be_missing(compute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = f"train=qlora model=phi3_mini_4k compute={compute}"
    monkeypatch.setattr(methods, "find_spec", lambda _name: None)
    assert _told(asked) == "train=qlora needs bitsandbytes: type pip install bitsandbytes, or train=lora"
    monkeypatch.setattr(methods, "find_spec", lambda _name: object())
    assert not _told(asked)


def test_four_bits_of_random_weights_are_refused() -> None:
    assert "needs a trained base" in _told("train=qlora compute=gpu")


def test_nothing_is_asked_for_when_training_is_not_performed() -> None:
    config = config_of("train=qlora")
    config.stages = [StageName.register]
    assert not list(methods.problems(config))


@pytest.mark.parametrize(
    ("targets", "fixed"),
    [
        (["q_proj", "v_proj"], "[qkv_proj]"),
        (["gate_proj", "down_proj"], "[gate_up_proj,down_proj]"),
        (["o_porj"], "[o_proj]"),
        (["query"], "[qkv_proj,o_proj,gate_up_proj,down_proj]"),
        (["lm_head"], "[qkv_proj,o_proj,gate_up_proj,down_proj]"),
    ],
)
def test_targets_of_other_models_are_translated(targets: list[str], fixed: str) -> None:
    config = config_of("train=lora model=phi4")
    assert isinstance(config.train, LoraTrain)
    config.train.targets = targets
    with pytest.raises(ConfigProblem) as told:
        check(config)
    assert "it has qkv_proj, o_proj, gate_up_proj, down_proj" in str(told.value)
    assert str(told.value).endswith(f"type train.targets={fixed}")


def test_a_context_longer_than_the_models_own_is_refused() -> None:
    with pytest.raises(ConfigProblem, match=r"the 4096 tokens that microsoft/Phi-3-medium-4k-instruct reads"):
        check(config_of("model=phi3_medium model.context=8192"))
    check(config_of("model=phi4 train.max_length=16384"))


class TestAModelFolder:
    def test_of_another_architecture_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
        with pytest.raises(ConfigProblem, match=r"holds a model of type llama, and .* or model=phi3_mini_4k$"):
            check(config_of(f"model=local model.path={tmp_path}"))

    def test_with_an_adapter_alone_is_told_to_be_merged(self, tmp_path: Path) -> None:
        told = {"base_model_name_or_path": "microsoft/phi-4"}
        (tmp_path / "adapter_config.json").write_text(json.dumps(told))
        with pytest.raises(
            ConfigProblem, match=r"an adapter without its base \(microsoft/phi-4\), .*stages=\[register\]"
        ):
            check(config_of(f"model=local model.path={tmp_path}"))
