"""What is opened and what is refused, and that a refusal comes before the weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from phi_runner.config.schema import LocalModel, NanoModel
from phi_runner.errors import TrainFailed
from phi_runner.model import load
from tests import tiny

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder without weights: whoever gets as far as those fails otherwise."""
    copied = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for file in copied.glob("*.safetensors"):
        file.unlink()
    return copied


def _rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_another_architecture_is_refused_before_its_weights_are_opened(folder: Path) -> None:
    _rewrite(folder / "config.json", model_type="llama", architectures=["LlamaForCausalLM"])
    with pytest.raises(
        TrainFailed, match=r"is a model of type llama, .* Phi-3 architecture .*: type model=phi3_mini_4k"
    ):
        load.pretrained(str(folder))


def test_a_tokenizer_that_cannot_chat_is_refused_before_the_weights_are_opened(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TrainFailed, match=r"has no chat template: put chat_template\.jinja beside its tokenizer"):
        load.pretrained(str(folder))


def test_missing_weights_are_one_line(folder: Path) -> None:
    with pytest.raises(TrainFailed, match="cannot open the model") as told:
        load.pretrained(str(folder))
    assert "\n" not in str(told.value)


def test_a_folder_starts_training_with_its_padding_and_its_fingerprint(tiny_model: Path, tmp_path: Path) -> None:
    found = load.start(LocalModel(path=str(tiny_model)), texts=[], seed=0, folder=tmp_path)
    assert found.base == str(tiny_model)
    assert found.tokenizer.pad_token == "<unk>"
    assert found.model.config.pad_token_id == found.tokenizer.pad_token_id
    assert set(found.fingerprint) == {name for name, _weight in found.model.named_parameters()}
    end, close = found.tokenizer.convert_tokens_to_ids([tiny.END, tiny.END_OF_TEXT])
    assert load.stop_ids(found.model, found.tokenizer) == sorted([end, close])


def test_an_interrupted_start_goes_on_from_the_very_base_it_began_with(tmp_path: Path) -> None:
    nano = NanoModel(hidden_size=16, intermediate_size=32, layers=1, heads=2, vocab_size=350, context=64)
    first = load.start(nano, texts=["some words"] * 3, seed=0, folder=tmp_path)
    again = load.start(nano, texts=["other words"] * 3, seed=1, folder=tmp_path)
    assert again.base == "base"
    assert again.fingerprint == first.fingerprint
    assert again.tokenizer.get_vocab() == first.tokenizer.get_vocab()
