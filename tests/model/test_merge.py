"""An adapter and its base become one model that says the same, or a line that says why not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.errors import MergeFailed
from phi_runner.model import fingerprint, load, merge
from phi_runner.model.engines.batched import TransformersEngine
from phi_runner.model.parity import QUESTIONS, spoken, witness
from tests import tiny

pytestmark = pytest.mark.filterwarnings("default")


def _adapter(base: Path, folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """Leave a random adapter of a base, saved as training saves it."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load.pretrained(str(base))
    told = fingerprint.fingerprint(model)
    torch.manual_seed(seed)
    targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    both = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **settings)
    )
    with torch.no_grad():
        for name, weight in both.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    both.peft_config["default"].base_model_name_or_path = str(base)
    load.save(both, tokenizer, folder=folder, base=told)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a machine that others use too, the two threads of matrices this small mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def _merged(adapter: Path, base: Path | str) -> merge.Merged:
    return merge.merged(adapter, base=str(base), revision="")


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_the_merged_model_says_what_base_and_adapter_said(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = _adapter(tiny_model, tmp_path / "adapter", **settings)
    found = merge.merged_to(tmp_path / "merged", adapter=adapter, base=str(tiny_model), revision="")
    assert found["merged"].greedy_match == found["reloaded"].greedy_match == found["served"].greedy_match == 1.0
    assert found["merged"].max_logit_difference is not None
    assert found["merged"].max_logit_difference < found["merged"].limit
    told = json.loads((tmp_path / merge.PARITY_FILE).read_text(encoding="utf-8"))
    assert [answer["messages"] for answer in told["answers"]] == [list(question) for question in QUESTIONS]


def test_a_stage_gets_the_merged_model(tiny_model: Path, adapter: Path) -> None:
    model, tokenizer = merge.trained(adapter, adapter=True, base=str(tiny_model), revision="")
    assert not hasattr(model, "peft_config") or not hasattr(model, "get_base_model")
    assert tokenizer.chat_template


def test_a_base_is_the_same_in_half_the_bits(tiny_model: Path) -> None:
    model, _tokenizer = load.pretrained(str(tiny_model))
    known = fingerprint.fingerprint(model)
    assert fingerprint.fingerprint(model.to(torch.bfloat16)) == known


def test_another_base_of_the_same_shape_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = tiny.make_model_folder(tmp_path / "other", seed=1)
    with pytest.raises(MergeFailed, match=r"other is not the base that .* was trained on: \d+ of \d+ weights differ"):
        _merged(adapter, other)


def test_another_base_is_refused_by_name_where_nothing_else_is_known(copied: Path, tmp_path: Path) -> None:
    (copied / fingerprint.BASE_FILE).unlink()
    other = tiny.make_model_folder(tmp_path / "other", seed=1)
    with pytest.raises(MergeFailed, match=r"was trained on .*model, not on .*other: name its own base"):
        _merged(copied, other)


def test_a_base_of_another_size_is_refused_before_its_weights_are_opened(copied: Path, tiny_model: Path) -> None:
    other = Path(shutil.copytree(tiny_model, copied.with_name("other")))
    for file in other.glob("*.safetensors"):
        file.unlink()
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(settings | {"intermediate_size": 48}))
    with pytest.raises(MergeFailed, match=r"was made for a base of another size than .*other: 4 tensors, such as "):
        _merged(copied, other)
    (other / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}))
    with pytest.raises(MergeFailed, match=r"holds what .*other has no place for: 8 tensors, such as .*layers\.1\."):
        _merged(copied, other)


def test_a_changed_file_is_refused(copied: Path, tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copied / fingerprint.ADAPTER_FILE
    values = load_file(file)
    silent = {name: value * (0 if "layers.1." in name else 1) for name, value in values.items()}
    save_file(silent, file)  # nothing is missing: a layer just does nothing
    with pytest.raises(MergeFailed, match=r"adapter_model\.safetensors is not the file that training left"):
        _merged(copied, tiny_model)


def test_what_is_no_number_is_refused(copied: Path, tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copied / fingerprint.ADAPTER_FILE
    save_file({name: value * torch.nan if "o_proj" in name else value for name, value in load_file(file).items()}, file)
    (copied / fingerprint.BASE_FILE).unlink()
    with pytest.raises(MergeFailed, match="holds no numbers: 4 tensors"):
        _merged(copied, tiny_model)


@pytest.mark.parametrize("name", ["adapter_config.json", fingerprint.ADAPTER_FILE])
def test_a_folder_without_an_adapter_is_told(copied: Path, tiny_model: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(MergeFailed, match=f"has no {name}"):
        _merged(copied, tiny_model)


def test_a_cut_file_is_told(copied: Path, tiny_model: Path) -> None:
    file = copied / fingerprint.ADAPTER_FILE
    file.write_bytes(file.read_bytes()[:200])
    (copied / fingerprint.BASE_FILE).unlink()
    with pytest.raises(MergeFailed, match=r"is damaged .*: train again"):
        _merged(copied, tiny_model)
    (copied / fingerprint.BASE_FILE).write_text("{}")
    with pytest.raises(MergeFailed, match=r"base\.json is damaged"):
        _merged(copied, tiny_model)


def test_a_merge_that_loses_any_one_layer_is_refused(adapter: Path, tiny_model: Path) -> None:
    whole = _merged(adapter, tiny_model)
    plain, _tokenizer = load.pretrained(str(tiny_model))
    assert whole.parity.max_logit_difference is not None
    for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"):
        lost = whole.model.model.layers[1].get_submodule(name)
        kept = lost.weight.detach().clone()
        with torch.no_grad():
            lost.weight.copy_(plain.model.layers[1].get_submodule(name).weight)
        with pytest.raises(MergeFailed, match="without a layer changed what the model says"):
            whole.witness.compare(whole.model, said="going on without a layer")
        with torch.no_grad():
            lost.weight.copy_(kept)
    assert whole.witness.compare(whole.model, said="nothing").max_logit_difference == whole.parity.max_logit_difference


def test_an_engine_that_says_something_else_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    other = tiny.make_model_folder(tmp_path / "other", seed=1)
    said = witness(*load.pretrained(str(tiny_model)))
    assert spoken(TransformersEngine(tiny_model), said).greedy_match == 1.0
    with pytest.raises(MergeFailed, match="the served model answers otherwise"):
        spoken(TransformersEngine(other), said)
