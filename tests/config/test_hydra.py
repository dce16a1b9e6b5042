"""The bridge: schemas and recipes are known to Hydra from any directory, and nothing internal is offered."""

import ast
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from phi_runner.config import hydra, places, schema
from phi_runner.config.composed import task
from phi_runner.config.load import load
from phi_runner.config.schema import SCHEMAS, LoraTrain, RunConfig
from phi_runner.config.vocabulary import vocabulary
from phi_runner.errors import ConfigProblem
from tests.config.configs import config_of

PRESETS = [(group, preset) for group in SCHEMAS for preset in places.presets(group).values()]


@pytest.mark.parametrize(("group", "preset"), PRESETS, ids=lambda item: getattr(item, "name", item))
def test_each_preset_resolves_beside_every_other_groups_default(group: str, preset: places.Preset) -> None:
    needs = " data.train_file=rows.jsonl" if preset.kind == "file" else ""
    config = config_of(f"{group}={preset.name}{needs}")
    assert type(getattr(config, group)) is SCHEMAS[group][preset.kind]


def test_recipes_work_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_of("+recipe=deploy_only outputs=any").stages == ["infra", "deploy"]


def test_training_follows_the_models_recommendation_until_it_is_told_otherwise() -> None:
    config = config_of("model=phi3_mini_4k")
    assert (config.train.learning_rate, config.train.epochs) == (1e-5, 3)
    assert config_of("model=phi3_mini_4k train=lora").train.learning_rate == 2e-4
    assert config_of("train=lora").train.learning_rate == 1e-2
    local = config_of("model=local model.path=x").train
    assert (local.learning_rate, local.epochs, local.packing) == (1e-5, 3, True)
    assert config_of("train.epochs=7").train.epochs == 7
    assert config_of("model.recommended.epochs=7").train.epochs == 7


def test_the_tutorials_values_are_exact() -> None:
    config = config_of("+recipe=tutorial_code_first")
    train = config.train
    assert (train.learning_rate, train.epochs, train.batch_size, train.eval_batch_size) == (5e-6, 3, 4, 4)
    assert (train.warmup_ratio, train.accumulation_steps, train.max_length) == (0.2, 1, 2048)
    assert (train.log_steps, train.save_steps, train.scheduler, train.packing) == (20, 500, "cosine", True)
    assert (config.data.take, config.data.eval_fraction, config.seed) == ("1%", 0.2, 0)
    assert (config.register.name, config.flow.port) == ("finetune-phi-model", 8080)  # type: ignore[attr-defined]


def test_the_composed_config_is_closed() -> None:
    with pytest.raises(ConfigProblem, match=r"train\.epoch"):
        hydra.compose(["train.epoch=3"], extra=None)
    node = task(hydra.compose([], extra=None))
    OmegaConf.update(node, "train.extra.anything", 1, force_add=True)
    assert load(node).train.extra == {"anything": 1}
    OmegaConf.update(node, "train.epoch", 1, force_add=True)
    with pytest.raises(ConfigProblem, match="epoch"):
        load(node)


def test_what_is_missing_is_named_with_its_option() -> None:
    node = task(hydra.compose(["data=jsonl"], extra=None))
    with pytest.raises(ConfigProblem, match=r"^data=jsonl needs data\.train_file=PATH$"):
        load(node, choices={"data": "jsonl"})
    with pytest.raises(ConfigProblem, match="no option is chosen for flow: type flow=OPTION"):
        load(task(hydra.compose(["~flow"], extra=None)))


def test_hydras_own_errors_fit_one_line() -> None:
    with pytest.raises(ConfigProblem) as caught:
        hydra.compose(["hydra/launcher=nobodys"], extra=None)
    assert "hydra/launcher/nobodys" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["/tmp/a b", "it's", "a,b=c", "back\\slash", "${not}", "trailing\\", 'dou"ble', "ünï"])
def test_any_path_survives_as_an_override(text: str) -> None:
    typed = hydra.parse(f"outputs={hydra.quoted(text)}", vocabulary())
    assert typed
    assert typed.values == (text.replace("${", "\\${"),)
    assert hydra.compose([f"outputs={hydra.quoted(text)}"], extra=None).outputs == text


def _undocumented(file: Path) -> set[str]:
    """Return the fields of a schema file that no docstring follows."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        for line, following in zip(getattr(node, "body", []), [*getattr(node, "body", []), None][1:], strict=False):
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if isinstance(line, ast.AnnAssign) and isinstance(node, ast.ClassDef) and not told:
                found.add(f"{node.name}.{ast.unparse(line.target)}")
    return {name for name in found if not name.endswith(".kind")}


def test_a_setting_explains_itself_by_its_name_or_by_its_docstring() -> None:
    folder = Path(schema.__file__).parent
    bare = set().union(*(_undocumented(file) for file in folder.glob("*.py")))
    assert {name for name in bare if not name.startswith("RunConfig.")} <= SELF_EXPLAINING


SELF_EXPLAINING = {
    "TrainConfig.epochs",
    "TrainConfig.eval_batch_size",
    "TrainConfig.scheduler",
    "TrainConfig.weight_decay",
    "TrainConfig.adam_beta2",
    "TrainConfig.max_grad_norm",
    "TrainConfig.log_steps",
    "LoraTrain.rank",
    "LoraTrain.dropout",
    "EvaluateConfig.max_new_tokens",
    "EvaluateConfig.batch_size",
    "TrackingConfig.experiment",
    "Recommended.epochs",
    "Recommended.batch_size",
    "Recommended.warmup_ratio",
    "Recommended.weight_decay",
    "Recommended.adam_beta2",
    "Recommended.packing",
    "Recommended.log_steps",
    "Recommended.save_steps",
    "NanoModel.hidden_size",
    "NanoModel.intermediate_size",
    "NanoModel.layers",
    "NanoModel.heads",
    "LocalDeploy.host",
    "ChatConfig.max_new_tokens",
}
"""Names that every reader of this field knows; a new setting comes with a docstring instead of a line here."""


def test_kinds_cannot_be_set_and_adapters_keep_their_defaults() -> None:
    assert LoraTrain().targets == ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    with pytest.raises(TypeError):
        RunConfig(kind="x")  # type: ignore[call-arg]
