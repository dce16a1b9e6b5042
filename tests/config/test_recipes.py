"""Recipes choose presets and stages, and what comes out of them is kept word for word."""

import pytest

from phi_runner.config import clouds, places
from phi_runner.config.check import check
from phi_runner.config.dump import to_yaml
from tests.config.configs import config_of
from tests.golden import FOLDER, golden

RECIPES = sorted(file.stem for file in places.folder("recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_resolves_to_its_golden_file(recipe: str) -> None:
    config = config_of(f"+recipe={recipe}")
    # an account is nobody's default: what needs one is checked with the emulated Azure
    check(config_of(f"+recipe={recipe} azure=rehearsal") if clouds.needs_azure(config) else config)
    text = to_yaml(config)
    assert text == golden(f"recipes/{recipe}.yaml", now=text)


def test_no_golden_file_is_left_over() -> None:
    assert sorted(file.stem for file in (FOLDER / "recipes").glob("*.yaml")) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_told_in_one_line_and_stays_small(recipe: str) -> None:
    assert places.presets("recipe")[recipe].about
    assert len((places.folder("recipes") / f"{recipe}.yaml").read_text().splitlines()) <= 15
