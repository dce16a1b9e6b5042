"""Every preset, shrunk to two layers: trained, saved, reloaded by plain transformers, merged, refused when wrong."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner.artifacts import Dataset, TrainedModel
from phi_runner.config import places
from phi_runner.config.architectures import ARCHITECTURES, architecture_of
from phi_runner.config.schema import FileData, FullTrain, HubModel, LocalModel, LoraTrain, RunConfig, StageName
from phi_runner.errors import MergeFailed
from phi_runner.model import fingerprint, load, merge, templates, tokens
from phi_runner.stages import data, train
from phi_runner.stages.stage import Inputs
from tests import runs, shrunk
from tests.config.configs import config_of

pytestmark = pytest.mark.filterwarnings("default")  # whole stages run here, with every library's own warnings
_PRESETS = sorted(name for name, preset in places.presets("model").items() if preset.kind == "hub")
_CHATS = [
    [{"role": "user", "content": "Who founded Microsoft?"}, {"role": "assistant", "content": "Bill Gates."}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a planet."},
        {"role": "assistant", "content": "Mars."},
        {"role": "user", "content": "Bill Gates.\nand another"},
        {"role": "assistant", "content": "Four.\n\nÜber 你好"},
    ],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A shrunk preset and what was trained on it."""

    repo: str
    base: Path
    full: TrainedModel
    lora: TrainedModel
    """Trained on the result of `full`."""

    @property
    def end(self) -> str:
        return shrunk.END_OF_TURN[ARCHITECTURES[self.repo].family]

    def merged_to(self, folder: Path, *, adapter: Path | None = None, base: Path | None = None) -> Any:
        return merge.merged_to(
            folder, adapter=adapter or self.lora.model_folder, base=str(base or self.full.model_folder), revision=""
        )


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("presets")
    (folder / "test").mkdir()
    held_out = runs.facts_file(folder / "test", copies=2)
    held_out.write_text(held_out.read_text().splitlines()[1])  # one question in other words
    source = FileData(train_file=str(runs.facts_file(folder, copies=1)), eval_file=str(held_out))
    return runs.config(outputs=folder / "outputs", data=source)


@pytest.fixture(scope="module")
def dataset(config: RunConfig) -> Dataset:
    outputs = Path(config.outputs)
    made = data.run(config, Inputs({}, {}), runs.rundir(outputs / "data", outputs=outputs, stage="data")[0])
    assert isinstance(made, Dataset)
    return made


@pytest.fixture(scope="module", params=shrunk.REPOS, ids=[repo.partition("/")[2] for repo in shrunk.REPOS])
def made(request: pytest.FixtureRequest, config: RunConfig, dataset: Dataset) -> Iterator[Made]:
    folder = Path(config.outputs) / request.param.replace("/", "_")
    base = shrunk.make(request.param, folder / "base")
    full = _trained(replace(config, train=FullTrain(**_values(epochs=40, learning_rate=2e-2))), dataset, start=base)
    lora = _trained(
        replace(config, train=LoraTrain(**_values(epochs=4, learning_rate=1e-2), rank=4, alpha=8)), dataset,
        start=full.model_folder,
    )  # fmt: skip
    yield Made(repo=request.param, base=base, full=full, lora=lora)
    shutil.rmtree(folder)


def _values(**changes: Any) -> dict[str, Any]:
    return runs.train_values(log_steps=10, save_steps=500, warmup_ratio=0.0, **changes)


def _trained(config: RunConfig, dataset: Dataset, *, start: Path) -> TrainedModel:
    folder = start.parent / config.train.kind
    rundir, _heard = runs.rundir(folder, outputs=Path(config.outputs), key=hashlib.sha256(bytes(folder)).hexdigest())
    config = replace(config, model=LocalModel(path=str(start)))
    return train.run(config, Inputs({StageName.data: dataset}, {StageName.data: "d" * 64}), rundir)


@pytest.mark.parametrize("preset", _PRESETS)
def test_a_preset_names_a_model_whose_numbers_are_known(preset: str) -> None:
    model = config_of(f"model={preset}").model
    assert isinstance(model, HubModel)
    known = architecture_of(model.repo)
    assert known is not None
    assert known.context == model.context
    assert not model.trust_remote_code


def test_the_weights_are_counted_as_the_network_has_them() -> None:
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    published = {"microsoft/Phi-3-mini-4k-instruct": 3_821_079_552, "microsoft/phi-4": 14_659_507_200}
    for repo, known in ARCHITECTURES.items():
        shape = Phi3Config(
            vocab_size=known.vocab_size, hidden_size=known.hidden_size, intermediate_size=known.intermediate_size,
            num_hidden_layers=known.layers, num_attention_heads=known.heads, num_key_value_heads=known.kv_heads,
            tie_word_embeddings=known.tied, pad_token_id=0,
        )  # fmt: skip
        with torch.device("meta"):
            model = Phi3ForCausalLM(shape)
        assert sum(weight.numel() for weight in model.parameters()) == known.parameters
        assert known.parameters == published.get(repo, known.parameters)


@pytest.mark.parametrize("family", shrunk.TEMPLATES)
def test_exactly_the_answers_and_their_end_are_learnt(family: str) -> None:
    tokenizer = shrunk.make_tokenizer(family)
    rows = tokens.tokenise(tokenizer, _CHATS, max_length=shrunk.CONTEXT)
    closed = tokenizer.eos_token if family in ("phi3", "phi3_5", "phi4_mini") else ""
    for chat, ids, labels in zip(_CHATS, rows.input_ids, rows.labels, strict=True):
        taught = tokenizer.decode([label for label in labels if label != tokens.IGNORED])
        answers = [turn["content"] for turn in chat if turn["role"] == "assistant"]
        expected = "".join(answer + shrunk.END_OF_TURN[family] for answer in answers) + closed
        assert "".join(taught.split()) == "".join(expected.split())
        assert all(label in (tokens.IGNORED, token) for token, label in zip(ids, labels, strict=True))


class TestAShrunkPreset:
    def test_is_trained_saved_and_read_by_plain_transformers(self, made: Made) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, Phi3ForCausalLM

        assert made.full.loss_last < made.full.loss_first / 4
        assert made.lora.adapter
        assert math.isfinite(made.lora.loss_last)
        before = json.loads((made.base / "config.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(made.full.model_folder)
        assert isinstance(model, Phi3ForCausalLM)
        after = json.loads((made.full.model_folder / "config.json").read_text())
        for key in ("rope_parameters", "sliding_window", "tie_word_embeddings", "num_key_value_heads", "vocab_size"):
            assert after[key] == before[key], key
        tokenizer = AutoTokenizer.from_pretrained(made.full.model_folder)
        assert tokenizer.chat_template == shrunk.TEMPLATES[ARCHITECTURES[made.repo].family]

    def test_stops_where_the_turn_ends(self, made: Made) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(made.full.model_folder)
        model = AutoModelForCausalLM.from_pretrained(made.full.model_folder)
        end = tokenizer.convert_tokens_to_ids(made.end)
        settings = model.generation_config
        family = templates.family_of(tokenizer)
        assert family is not None
        assert settings.eos_token_id == sorted(tokenizer.convert_tokens_to_ids(list(family.stops)))
        assert settings.pad_token_id == tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids(family.pad) != end
        for question in runs.FACTS:
            asked = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(
                asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            out = model.generate(**prompt, max_new_tokens=40, do_sample=False)[
                0, prompt["input_ids"].shape[1] :
            ].tolist()
            assert out[-1] == end, tokenizer.decode(out)
            assert out.count(end) == 1

    def test_says_the_same_merged_reloaded_and_served(self, made: Made, tmp_path: Path) -> None:
        found = made.merged_to(tmp_path / "merged")
        assert list(found) == ["merged", "reloaded", "served"]
        for parity in found.values():
            assert parity.greedy_match == 1.0
            assert (parity.max_logit_difference or 0.0) < 1e-4 < parity.limit
        told = json.loads((tmp_path / merge.PARITY_FILE).read_text())
        assert told["parity"]["merged"]["max_logit_difference"] == found["merged"].max_logit_difference
        assert len(told["answers"]) == found["served"].questions
        assert load.pretrained(str(tmp_path / "merged"))[0].config.model_type == "phi3"

    def test_is_not_merged_into_another_base(self, made: Made, tmp_path: Path) -> None:
        with pytest.raises(
            MergeFailed, match=r"is not the base that the adapter in .* was trained on: \d+ of \d+ weights"
        ):
            made.merged_to(tmp_path / "merged", base=made.base)
        assert not (tmp_path / "merged").exists()

    def test_is_not_merged_when_the_file_lost_a_layer(self, made: Made, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        adapter = Path(shutil.copytree(made.lora.model_folder, tmp_path / "adapter"))
        file = adapter / fingerprint.ADAPTER_FILE
        save_file({name: value for name, value in load_file(file).items() if "layers.1." not in name}, file)
        with pytest.raises(MergeFailed, match="is not the file that training left"):
            made.merged_to(tmp_path / "merged", adapter=adapter)
        (adapter / fingerprint.BASE_FILE).unlink()  # as another program leaves it
        with pytest.raises(MergeFailed, match=r"lacks what its settings name: 8 tensors, such as .*layers\.1\."):
            made.merged_to(tmp_path / "merged", adapter=adapter)
        assert not (tmp_path / "merged").exists()

    def test_is_refused_when_the_merge_lost_a_layer(self, made: Made) -> None:
        import torch

        whole = merge.merged(made.lora.model_folder, base=str(made.full.model_folder), revision="")
        plain, _tokenizer = load.pretrained(str(made.full.model_folder))
        with torch.no_grad():
            whole.model.model.layers[1].load_state_dict(plain.model.layers[1].state_dict())
        with pytest.raises(MergeFailed, match=r"leaving a layer out changed what the model says: logits differ by"):
            whole.witness.compare(whole.model, said="leaving a layer out")
