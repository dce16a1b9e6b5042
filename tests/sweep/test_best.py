"""The best trial as a recipe: what is copied composes to the very config that the trial had."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi_runner.config import hydra, places
from phi_runner.config.composed import task
from phi_runner.config.dump import to_yaml
from phi_runner.config.identity import NO_PART
from phi_runner.config.load import load
from phi_runner.config.objectives import OBJECTIVES
from phi_runner.config.schema import RunConfig
from phi_runner.config.schema.sweep import ObjectiveName
from phi_runner.sweep import best, leaderboard, trials
from tests.sweep import made

VALUES: dict[str, Any] = {"train.learning_rate": 0.00123, "train.batch_size": 16}


def composed(overrides: Sequence[str], *, extra: Path | None = None) -> RunConfig:
    """Return the config of a run."""
    hydra.register()
    return load(task(hydra.compose(overrides, extra=extra)))


def recipe_of(folder: Path, *overrides: str, extra: Path | None = None) -> str:
    """Let a trial with these overrides be the best one and return its recipe."""
    told = [*overrides, *(f"{key}={value}" for key, value in VALUES.items())]
    place = made.trial(folder, "a" * 16, values=VALUES, metrics={"loss_after": 1.2345}, overrides=told)
    (place / "config.yaml").write_text(to_yaml(composed(told, extra=extra)), encoding="utf-8")
    if extra:
        sources = [{"path": "hydra.conf", "provider": "hydra"}, {"path": str(extra), "provider": "command-line"}]
        kept = {"hydra": {"runtime": {"config_sources": sources}}}
        (folder / "multirun.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    loss = OBJECTIVES[ObjectiveName.loss_after]
    board = leaderboard.of(trials.read(folder), objective=loss, name="sweep_x", asked=None)
    file = best.write(board, folder=folder)
    assert file is not None
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["+recipe=train_only", "seed=7", "outputs=elsewhere", "sweep.prune=true"],
        ["+recipe=sweep_lr", "train=lora", "data.take=10", "+train.extra.label_smoothing_factor=0.1"],
        ["data=jsonl", "data.train_file='rows, with \\${text}.jsonl'", "model=phi3_mini_4k", "compute=gpu"],
        ["+recipe=full", "evaluate.tasks=[arc_easy,hellaswag]", "tracking.experiment=mine"],
    ],
)
def test_the_recipe_in_a_folder_of_ones_own_composes_to_the_trials_config(overrides: list[str], tmp_path: Path) -> None:
    text = recipe_of(tmp_path / "sweep", *overrides)
    mine = tmp_path / "mine" / "recipe"
    mine.mkdir(parents=True)
    (mine / "best.yaml").write_text(text, encoding="utf-8")
    again = asdict(composed(["+recipe=best"], extra=tmp_path / "mine"))
    asked = asdict(composed([*overrides, *(f"{key}={value}" for key, value in VALUES.items())]))
    assert {key: value for key, value in again.items() if key not in NO_PART} == {
        key: value for key, value in asked.items() if key not in NO_PART
    }


def test_it_reads_like_a_recipe(tmp_path: Path) -> None:
    text = recipe_of(tmp_path, "+recipe=train_only", "train=lora")
    assert text.splitlines()[:5] == [
        "# @package _global_",
        "# best of 1 trials of sweep_x: held-out loss 1.2345",
        "# found by the sweep: train.learning_rate=0.00123 train.batch_size=16",
        "defaults:",
        "  - override /train: lora",
    ]
    assert "outputs" not in text
    assert text.splitlines()[5:8] == ["train:", "  learning_rate: 0.00123", "  batch_size: 16"]


def test_presets_of_ones_own_are_chosen_by_name_again(tmp_path: Path) -> None:
    own = tmp_path / "presets" / "train"
    own.mkdir(parents=True)
    (own / "gentle.yaml").write_text("# mine\ndefaults: [full_schema, _self_]\nepochs: 2\n", encoding="utf-8")
    text = recipe_of(tmp_path / "sweep", "train=gentle", extra=tmp_path / "presets")
    assert "  - override /train: gentle" in text
    assert "epochs" not in text


def test_a_sweep_without_a_finished_trial_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("# an earlier one\n", encoding="utf-8")
    made.trial(tmp_path, "a" * 16, values=VALUES, status="failed")
    loss = OBJECTIVES[ObjectiveName.loss_after]
    board = leaderboard.of(trials.read(tmp_path), objective=loss, name="sweep_x", asked=None)
    assert best.write(board, folder=tmp_path) is None
    assert not (tmp_path / "best.yaml").exists()


def test_the_first_words_are_what_help_shows(tmp_path: Path) -> None:
    text = recipe_of(tmp_path / "sweep")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "best.yaml").write_text(text, encoding="utf-8")
    assert places.presets("recipe", extra=tmp_path)["best"].about.startswith("best of 1 trials")
