"""Rules across fields: each is broken here once, and said with what to type instead."""

import json
from math import inf
from operator import attrgetter
from pathlib import Path

import pytest

from phi_runner.config.check import check, warnings
from phi_runner.config.ranges import RANGES
from phi_runner.config.schema import LocalDeploy, LoraTrain, NanoModel, RunConfig, StageName
from phi_runner.config.vocabulary import vocabulary
from phi_runner.errors import ConfigProblem, SweepWouldDeploy
from tests.config.configs import config_of


@pytest.fixture
def config() -> RunConfig:
    """The default run."""
    return config_of()


@pytest.fixture
def full() -> RunConfig:
    """Every stage, with everything that it needs."""
    return config_of("+recipe=full")


def test_the_shipped_defaults_are_sound(config: RunConfig, full: RunConfig) -> None:
    check(config)
    check(full)
    assert warnings(full) == []


def test_every_number_has_a_range() -> None:
    numbers = {key.path for key in vocabulary().keys.values() if key.hint in (int, float)}
    numbers |= {key for key in RANGES if key.startswith("limits.")}  # empty, or a number
    assert {path for path in numbers if not path.startswith("model.recommended.")} == set(RANGES)


OUTSIDE = [
    (key, value)
    for key, allowed in RANGES.items()
    for value in (allowed.low - 1, allowed.high + 1, float("nan") if vocabulary().keys[key].hint is float else inf)
    if value != inf
]


@pytest.mark.parametrize(("key", "value"), OUTSIDE)
def test_a_number_out_of_its_range_is_refused_by_name(key: str, value: float) -> None:
    group, _, name = key.rpartition(".")
    kinds = vocabulary().keys[key].kinds
    chosen = {"data": "sample", "compute": "cpu", "deploy": "local", "azure": "account", "train": "lora"}
    if group in chosen and kinds and chosen[group] not in kinds:
        named = {"compute": {"gpu": "gpu", "azure": "azure_cpu"}, "data": {"file": "jsonl data.train_file=rows.jsonl"}}
        chosen[group] = named.get(group, {}).get(kinds[0], kinds[0])
    told = " ".join(f"{group}={option}" for group, option in chosen.items())
    config = config_of(f"flow=promptflow {told}")
    setattr(attrgetter(group)(config) if group else config, name, value)
    with pytest.raises(ConfigProblem, match=rf"{key}={value} is out of range.*: type {key}="):
        check(config)


def test_stages_may_not_be_empty_or_repeated(config: RunConfig) -> None:
    config.stages = []
    with pytest.raises(ConfigProblem, match=r"stages is empty: type stages=\["):
        check(config)
    config.stages = [StageName.data, StageName.data]
    with pytest.raises(ConfigProblem, match=r"type stages=\[data\]"):
        check(config)


def test_force_names_selected_stages_only(config: RunConfig) -> None:
    config.force = [StageName.deploy]
    with pytest.raises(ConfigProblem, match=r"force names deploy.*type stages=\[data,train,evaluate,deploy\]"):
        check(config)


def test_rows_may_not_be_longer_than_the_model_reads(config: RunConfig) -> None:
    assert isinstance(config.model, NanoModel)
    config.model.context = 1024
    with pytest.raises(ConfigProblem, match=r"train\.max_length=2048 is longer than model\.context=1024"):
        check(config)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ConfigProblem, match=r"type model\.hidden_size=258"):
        check(config_of("model.heads=3"))
    check(config_of("model.heads=3 model.hidden_size=258"))


def test_a_folder_of_ones_own_is_a_model_of_its_own() -> None:
    with pytest.raises(ConfigProblem, match=r"^model\.path=x is not made here: type model=local model\.path=x$"):
        check(config_of("model.path=x"))
    with pytest.raises(ConfigProblem, match=r"^model=local needs model\.path=FOLDER$"):
        check(config_of("model=local"))


@pytest.mark.parametrize(
    ("uri", "without"),
    [
        ("postgresql://u:s3cret@h/db", "postgresql://u@h/db"),
        ("postgresql+psycopg2://u:s3/cr#et@h:5432/db", "postgresql+psycopg2://u@h:5432/db"),
        ("https://u:s3@cret@h:5000", "https://h:5000"),
        ("http://:s3cret@h", "http://h"),
    ],
)
def test_a_password_is_no_setting(config: RunConfig, uri: str, without: str) -> None:
    config.tracking.uri = uri
    with pytest.raises(ConfigProblem, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as caught:
        check(config)
    told = str(caught.value)
    assert f"type tracking.uri={without} and" in told
    assert not {part for part in ("s3", "cret", "cr#et") if part in told}


@pytest.mark.parametrize(
    "uri", ["http://h:5000", "https://u@h:5000/x", "sqlite:////tmp/a@b:c.db", "file:///tmp/x", "", "databricks"]
)
def test_a_place_without_a_password_is_taken(config: RunConfig, uri: str) -> None:
    config.tracking.uri = uri
    check(config)


def test_adapters_need_layers() -> None:
    lora = config_of("train=lora")
    assert isinstance(lora.train, LoraTrain)
    lora.train.targets = []
    with pytest.raises(ConfigProblem, match=r"type train\.targets=\[qkv_proj,o_proj,gate_up_proj,down_proj\]"):
        check(lora)


def test_take_is_a_count_or_a_share(config: RunConfig) -> None:
    config.data.take = "1.5"
    with pytest.raises(ConfigProblem, match=r"data\.take='1\.5'"):
        check(config)


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [
        ("register.name", "a/b", "a-b"),
        ("register.name", "", "phi"),
        ("register.alias", "latest", "phi-latest"),
        ("register.alias", "v2", "phi-v2"),
        ("deploy.name", "my endpoint", "my-endpoint"),
        ("flow.name", "../out", "out"),
        ("flow.connection", "9lives", "phi-9lives"),
    ],
)
def test_names_are_legal_and_a_legal_one_is_offered(full: RunConfig, key: str, bad: str, good: str) -> None:
    group, name = key.split(".")
    setattr(getattr(full, group), name, bad)
    with pytest.raises(ConfigProblem, match=rf"{key}={bad!r} is not a legal name.* such as {key}={good}$"):
        check(full)
    setattr(getattr(full, group), name, good)
    check(full)


def test_a_flow_needs_an_endpoint(full: RunConfig) -> None:
    full.deploy = config_of().deploy
    with pytest.raises(ConfigProblem, match="type deploy=local, or flow=none"):
        check(full)


def test_trials_start_endpoints_only_when_told_to(full: RunConfig) -> None:
    with pytest.raises(SweepWouldDeploy, match=r"sweep\.may_deploy=true.*\[infra,data,train,evaluate,register\]"):
        check(full, multirun=True)
    full.sweep.may_deploy = True
    check(full, multirun=True)
    check(config_of(), multirun=True)


def test_everything_wrong_is_said_at_once(config: RunConfig) -> None:
    config.train.epochs, config.seed, config.data.take = 0, -1, "x"
    with pytest.raises(ConfigProblem) as caught:
        check(config)
    assert [word in str(caught.value) for word in ("train.epochs=0", "seed=-1", "data.take='x'")] == [True] * 3


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("0.0.0.0", 1), ("me", 1)]
)
def test_a_host_that_lets_others_in_is_warned_of(config: RunConfig, host: str, warned: int) -> None:
    config.deploy = LocalDeploy(host=host)
    assert len(warnings(config)) == warned
    check(config)


class TestFiles:
    """Paths are looked at only where a selected stage uses them."""

    @pytest.fixture
    def jsonl(self, tmp_path: Path) -> RunConfig:
        config = config_of(f"data=jsonl data.train_file={tmp_path / 'rows.jsonl'}")
        (tmp_path / "rows.jsonl").write_text("{}\n")
        return config

    def test_a_missing_file_is_named_with_its_neighbour(self, jsonl: RunConfig, tmp_path: Path) -> None:
        check(jsonl)
        jsonl.data.train_file = str(tmp_path / "row.jsonl")  # type: ignore[attr-defined]
        with pytest.raises(ConfigProblem, match=rf"did you mean data\.train_file={tmp_path}/rows\.jsonl\?"):
            check(jsonl)
        jsonl.stages = [StageName.train]
        check(jsonl)

    def test_a_folder_is_no_data_file(self, jsonl: RunConfig, tmp_path: Path) -> None:
        jsonl.data.eval_file = str(tmp_path)  # type: ignore[attr-defined]
        with pytest.raises(ConfigProblem, match=r"data\.eval_file=.* is a folder: type data\.eval_file=.*rows\.jsonl"):
            check(jsonl)

    def test_a_file_in_no_folder_says_where_it_looked(self, jsonl: RunConfig) -> None:
        jsonl.data.train_file = "no/such/rows.jsonl"  # type: ignore[attr-defined]
        with pytest.raises(ConfigProblem, match="there is no folder no/such in /"):
            check(jsonl)

    def test_a_model_folder_is_complete(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        config = config_of(f"model=local model.path={folder}")
        with pytest.raises(ConfigProblem, match="is no folder"):
            check(config)
        folder.mkdir()
        with pytest.raises(ConfigProblem, match=r"lacks config\.json, a tokenizer .*, a chat template .*, weights"):
            check(config)
        (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
        for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors"):
            (folder / name).write_text("{}")
        with pytest.raises(ConfigProblem, match=r"longer than the 512 tokens .*: type train\.max_length=512"):
            check(config)
        config.train.max_length = 512
        check(config)
        config.stages = [StageName.data]
        config.model.path = "nowhere"
        check(config)

    def test_a_template_may_stand_in_the_tokenizers_settings(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
        for name in ("tokenizer.model", "model.safetensors"):
            (tmp_path / name).write_text("{}")
        check(config_of(f"model=local model.path={tmp_path}"))

    def test_outputs_is_a_folder_that_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for typed in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(ConfigProblem, match=rf"{tmp_path}/file is a file: type outputs=FOLDER"):
                check(config_of(f"outputs={typed}"))
        check(config_of(f"outputs={tmp_path / 'new' / 'folder'}"))
        assert not (tmp_path / "new").exists()
