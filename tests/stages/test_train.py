"""Training, evaluation and registration for real, on a tiny model: what each leaves and what plain libraries read."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts, runner
from phi_runner.artifacts import Registered, Scorecard, TrainedModel
from phi_runner.config.schema import FileData, FullTrain, RegisterConfig, RunConfig, StageName
from phi_runner.errors import TrainFailed
from phi_runner.template import template_hash
from tests import runs

_STAGES = (StageName.data, StageName.train, StageName.evaluate, StageName.register)
pytestmark = pytest.mark.filterwarnings("default")  # whole stages run here, with every library's own warnings


def _perform(config: RunConfig, name: str) -> dict[str, Any]:
    folder = Path(config.outputs) / "runs" / name
    runner.perform(config, folder=folder, overrides=[], recipe="", trial=None)
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return {stage["name"]: stage for stage in record["stages"]} | {"record": record}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("trained")
    data = FileData(train_file=str(runs.facts_file(folder)))
    return runs.config(*_STAGES, outputs=folder / "outputs", data=data)


@pytest.fixture(scope="module")
def stages(config: RunConfig) -> dict[str, Any]:
    return _perform(config, "full")


@pytest.fixture(scope="module")
def trained(stages: dict[str, Any]) -> TrainedModel:
    return artifacts.load(TrainedModel, folder=Path(stages["train"]["result"]))


@pytest.fixture(scope="module")
def registered(stages: dict[str, Any]) -> Registered:
    return artifacts.load(Registered, folder=Path(stages["register"]["result"]))


def test_training_learns(trained: TrainedModel, stages: dict[str, Any]) -> None:
    assert trained.loss_last < trained.loss_first / 3
    card = artifacts.load(Scorecard, folder=Path(stages["evaluate"]["result"]))
    assert card.loss_after < card.loss_before / 3
    assert card.perplexity_after == pytest.approx(math.exp(card.loss_after))
    assert card.exact_before == 0.0
    assert card.exact_after is not None
    assert card.exact_after > 0.0


def test_the_result_holds_weights_tokenizer_template_and_curve(trained: TrainedModel) -> None:
    names = {file.name for file in trained.model_folder.iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    } <= names
    assert (trained.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (trained.folder / "checkpoints").exists()
    assert trained.template_hash == template_hash(trained.model_folder)


def test_plain_transformers_reads_it_and_stops_at_the_end_of_the_turn(trained: TrainedModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained.model_folder)
    model = AutoModelForCausalLM.from_pretrained(trained.model_folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**prompt, max_new_tokens=60, do_sample=False)[0, prompt["input_ids"].shape[1] :].tolist()
    assert out[-1] in model.generation_config.eos_token_id
    assert len(out) < 60
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert end in model.generation_config.eos_token_id


def test_metrics_really_arrive_in_the_tracker(trained: TrainedModel, config: RunConfig) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{config.outputs}/mlflow.db")
    run = client.get_run(trained.tracking_run)
    assert run.data.params["train.learning_rate"] == "0.005"
    losses = [point.value for point in client.get_metric_history(trained.tracking_run, "loss")]
    assert len(losses) > 3
    assert losses[-1] < losses[0]
    assert client.get_metric_history(trained.tracking_run, "eval_loss")


def test_the_registered_model_loads_with_plain_mlflow_in_another_process(registered: Registered) -> None:
    program = (
        "import sys, json, mlflow\n"
        "mlflow.set_tracking_uri(sys.argv[1]); mlflow.set_registry_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/' + sys.argv[2])\n"
        "names = sorted(p.name for p in model.metadata.signature.params.params)\n"
        "chat = mlflow.transformers.load_model('models:/' + sys.argv[2], return_type='components')\n"
        "print(json.dumps([model.predict(['Name a planet.'], params={'max_new_tokens': 8}), names, sorted(chat)]))\n"
    )
    arguments = [sys.executable, "-W", "ignore", "-c", program, registered.tracking_uri, "finetune-phi-model@champion"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer, names, parts = json.loads(done.stdout.strip().splitlines()[-1])
    assert names == ["do_sample", "max_new_tokens", "return_full_text", "temperature"]
    assert {"model", "tokenizer"} <= set(parts)
    assert "planet" not in answer[0]  # the answer alone, asked through the chat template, not a continued prompt


def test_the_registry_knows_where_a_version_came_from(registered: Registered, stages: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=registered.tracking_uri)
    found = client.get_model_version_by_alias(registered.name, "champion")
    assert str(found.version) == registered.version
    assert found.tags["phi_runner.train_key"] == stages["train"]["key"]
    assert found.tags["phi_runner.template_hash"] == registered.template_hash
    assert found.tags["phi_runner.data_hash"]


def test_a_second_run_reuses_all_of_it_until_the_registry_loses_the_version(
    config: RunConfig, registered: Registered, stages: dict[str, Any]
) -> None:
    again = _perform(config, "again")
    assert [again[stage]["status"] for stage in _STAGES] == ["reused"] * 4
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=registered.tracking_uri).delete_model_version(registered.name, registered.version)
    lost = _perform(config, "lost")
    assert [lost[stage]["status"] for stage in _STAGES] == ["reused"] * 3 + ["done"]
    assert "points to nothing, not to" in lost["register"]["why"]


def test_going_back_to_an_earlier_config_moves_the_alias_back(config: RunConfig, stages: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{config.outputs}/mlflow.db"
    versions = []
    for name, epochs in (("first", 2), ("second", 3), ("back", 2)):
        quick = replace(config, train=FullTrain(**runs.train_values(epochs=epochs)))
        done = _perform(replace(quick, register=RegisterConfig(name="moved")), name)
        versions.append(artifacts.load(Registered, folder=Path(done["register"]["result"])).version)
        assert (
            str(MlflowClient(tracking_uri=uri).get_model_version_by_alias("moved", "champion").version) == versions[-1]
        )
    assert versions == ["1", "2", "1"]


def test_an_adapter_on_a_local_folder_is_merged_to_the_same_model(
    config: RunConfig, trained: TrainedModel, stages: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lora = replace(config, train=runs.lora(epochs=3), model=replace(config.model, path=str(trained.model_folder)))
    done = _perform(lora, "lora")
    adapter = artifacts.load(TrainedModel, folder=Path(done["train"]["result"]))
    merged = artifacts.load(Registered, folder=Path(done["register"]["result"]))
    assert adapter.adapter
    assert (adapter.model_folder / "adapter_model.safetensors").is_file()
    base = AutoModelForCausalLM.from_pretrained(trained.model_folder)
    together = PeftModel.from_pretrained(base, str(adapter.model_folder)).eval()
    plain = AutoModelForCausalLM.from_pretrained(merged.model_folder).eval()
    ids = torch.arange(20, 60)[None]
    with torch.inference_mode():
        with_adapter = together(ids).logits
        assert (with_adapter - plain(ids).logits).abs().max() < 1e-4
        with together.disable_adapter():
            assert (with_adapter - together(ids).logits).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tokenizer.json", "cannot open the model"),
        ("chat_template.jinja", "no chat template"),
        ("model.safetensors", "cannot open"),
    ],
)
def test_a_model_folder_that_lacks_something_is_refused(
    config: RunConfig, trained: TrainedModel, tmp_path: Path, missing: str, said: str
) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(trained.model_folder, folder)
    (folder / missing).unlink()
    broken = replace(config, model=replace(config.model, path=str(folder)), stages=[StageName.train])
    with pytest.raises(TrainFailed, match=said):
        _perform(broken, f"without-{missing}")


def test_lora_targets_that_match_nothing_name_those_that_exist(config: RunConfig, stages: dict[str, Any]) -> None:
    lora = runs.lora()
    lora.targets = ["q_proj"]
    with pytest.raises(TrainFailed, match=r"no layer q_proj; it has qkv_proj, o_proj, gate_up_proj, down_proj"):
        _perform(replace(config, train=lora, stages=[StageName.train]), "targets")


def test_a_rate_that_explodes_stops_with_advice(config: RunConfig, stages: dict[str, Any]) -> None:
    wild = FullTrain(
        **runs.train_values(learning_rate=0.99, max_grad_norm=1e30, extra={"optim": "sgd", "warmup_steps": 0})
    )
    steep = replace(wild, extra=wild.extra | {"learning_rate": 1e12})
    with pytest.raises(TrainFailed, match=r"step was not taken.*type train\.learning_rate="):
        _perform(replace(config, train=steep, stages=[StageName.train]), "steep")


def test_packing_does_not_leak_between_dialogues(config: RunConfig, trained: TrainedModel) -> None:
    """The loss of dialogues alone equals their loss inside one packed row, made and masked as in training."""
    import torch
    from datasets import Dataset
    from trl import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from phi_runner.model import load, tokens

    model, tokenizer = load.pretrained(str(trained.model_folder))
    chats = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in list(runs.FACTS.items())[:4]
    ]
    rows = tokens.tokenise(tokenizer, chats, max_length=128)
    model.eval()
    alone = []
    with torch.inference_mode():
        for ids, labels in zip(rows.input_ids, rows.labels, strict=True):
            logits = model(torch.tensor([ids])).logits[0, :-1]
            wanted = torch.tensor(labels[1:])
            alone.append(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum", ignore_index=-100))
        packed = pack_dataset(Dataset.from_dict({"input_ids": rows.input_ids, "labels": rows.labels}), 512, "bfd")
        batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([packed[0]])
        logits = model(**{name: batch[name] for name in ("input_ids", "position_ids")}, use_cache=False).logits[0, :-1]
        together = torch.nn.functional.cross_entropy(logits, batch["labels"][0, 1:], reduction="sum", ignore_index=-100)
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone), rel=1e-4)
