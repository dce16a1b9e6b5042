"""Recipes choose presets and stages, and what comes out of them is kept word for word."""

from pathlib import Path

import pytest

from phi_runner.config import clouds, places
from phi_runner.config.check import check
from phi_runner.config.dump import to_yaml
from tests.config.configs import config_of
from tests.golden import FOLDER, golden

RECIPES = sorted(file.stem for file in places.folder("recipes").glob("*.yaml"))


NEEDS = {
    "dpo": "data.train_file=pairs.jsonl model.path=trained train.max_length=512",
    "compare": "runs=[run,run]",
    "reproduce": "run=run",
}
"""What a recipe leaves to be typed."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_resolves_to_its_golden_file(
    recipe: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.jsonl").touch()
    (tmp_path / "trained").symlink_to(tiny_model)
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    typed = f"+recipe={recipe} {NEEDS.get(recipe, '')}"
    config = config_of(typed)
    # an account is nobody's default: what needs one is checked with the emulated Azure
    check(config_of(f"{typed} azure=rehearsal") if clouds.needs_azure(config) else config)
    text = to_yaml(config)
    assert text == golden(f"recipes/{recipe}.yaml", now=text)


def test_no_golden_file_is_left_over() -> None:
    assert sorted(file.stem for file in (FOLDER / "recipes").glob("*.yaml")) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_told_in_one_line_and_stays_small(recipe: str) -> None:
    assert places.presets("recipe")[recipe].about
    assert len((places.folder("recipes") / f"{recipe}.yaml").read_text().splitlines()) <= 15
