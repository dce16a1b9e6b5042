"""Preference training is a second step: what it starts from and what it learns from is said before anything runs."""

from pathlib import Path

import pytest

from phi_runner.config import preference
from phi_runner.config.check import check
from phi_runner.config.schema import DpoTrain
from phi_runner.errors import ConfigProblem
from tests.config.configs import config_of

PAIRS = "train=dpo data=jsonl data.train_file=pairs.jsonl"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (PAIRS, "train=dpo is a second step, and model=phi3_nano starts from random weights: train it first "
                "(train=full), then type model=local model.path=FOLDER, which that run names"),
        ("train=dpo model=phi3_mini_4k", "train=dpo learns from pairs of answers (rows with prompt, chosen and "
                "rejected), and data=sample holds dialogues: type data=jsonl data.train_file=PATH"),
        (f"{PAIRS} model=phi3_mini_4k data.format=messages", "train=dpo learns from pairs of answers (rows with "
                "prompt, chosen and rejected), not data.format=messages: type data.format=auto"),
        (f"{PAIRS} model=phi3_mini_4k train.targets=[qkv_proj,lm_head]", "train.targets: TRL's preference loss goes "
                "past an adapter on lm_head: type train.targets=[qkv_proj]"),
    ],
)  # fmt: skip
def test_what_it_lacks_is_said(typed: str, said: str) -> None:
    assert list(preference.problems(config_of(typed))) == [said]


@pytest.mark.parametrize(
    "typed",
    [
        f"{PAIRS} model=phi3_mini_4k",
        f"{PAIRS} model=phi3_mini_4k data.format=preference train.all_weights=true train.targets=[lm_head]",
        "train=dpo 'stages=[data]'",
        "train=full",
    ],
)
def test_nothing_is_said_where_nothing_is_lacking(typed: str) -> None:
    assert list(preference.problems(config_of(typed))) == []


def test_rows_of_another_format_are_refused_when_they_are_known() -> None:
    preference.check_rows(config_of(PAIRS), spelled="preference", source="pairs.jsonl")
    preference.check_rows(config_of(), spelled="messages", source="sample")
    with pytest.raises(ConfigProblem, match=r"pairs\.jsonl holds rows of format messages: type data=jsonl"):
        preference.check_rows(config_of(PAIRS), spelled="messages", source="pairs.jsonl")


def test_the_recipe_needs_a_model_and_pairs(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match=r"data\.train_file=PATH"):
        config_of("+recipe=dpo")
    pairs = tmp_path / "pairs.jsonl"
    pairs.touch()
    config = config_of(f"+recipe=dpo data.train_file={pairs}")
    with pytest.raises(ConfigProblem, match=r"^model=local needs model\.path=FOLDER$"):
        check(config)
    config = config_of(f"+recipe=dpo data.train_file={pairs} model.path={tiny_model} train.max_length=64")
    assert isinstance(config.train, DpoTrain)
    check(config)


def test_beta_is_more_than_nothing() -> None:
    config = config_of(f"{PAIRS} model=phi3_mini_4k train.beta=0")
    with pytest.raises(ConfigProblem, match=r"train\.beta=0\.?0? is out of range, more than 0: type train\.beta=0\.1"):
        check(config)
