"""The table of the tutorials is complete, and every value in it is what the recipe resolves to."""

import re
from functools import cache

import pytest
from omegaconf import DictConfig, OmegaConf

from phi_runner.config import hydra
from phi_runner.config.schema import SCHEMAS
from phi_runner.config.vocabulary import vocabulary
from tests.docs import pages

PAGE = pages.ROOT / "docs" / "tutorials.md"
_STEPS = 23
_RECIPES = {"train=azure_catalog": "tutorial_foundry", "flow=foundry": "tutorial_foundry"}
"""Steps of the Foundry tutorial, told by what they choose; all others are the code-first one's."""


def rows() -> list[list[str]]:
    """Return the cells of every step."""
    return [row for row in pages.tables(PAGE) if row[0].isdigit()]


def test_every_step_has_its_row() -> None:
    assert [int(row[0]) for row in rows()] == list(range(1, _STEPS + 1))
    assert [row[0] for row in rows() if len(row) != 4 or not all(row)] == []


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_value_is_the_recipes_own(row: list[str]) -> None:
    unasked = row[2].partition("; or")[0].partition("; served")[0]
    typed = dict(code.split("=", 1) for code in re.findall(r"`([a-z_.]+=[^`]*)`", unasked))
    groups = {key: value for key, value in typed.items() if key in SCHEMAS}
    recipe = next((_RECIPES[f"{key}={value}"] for key, value in groups.items() if f"{key}={value}" in _RECIPES), "")
    values = {key: value for key, value in typed.items() if key not in SCHEMAS}
    if not values:
        return
    node = composed(f"+recipe={recipe or 'tutorial_code_first'}", *(f"{key}={value}" for key, value in groups.items()))
    words = vocabulary()
    for key, value in values.items():
        parsed = hydra.parse(f"{key}={value}", words)
        assert parsed, key
        found = OmegaConf.select(node, key)
        found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else getattr(found, "value", found)
        assert found == parsed.values[0], key


@cache
def composed(*texts: str) -> DictConfig:
    """Return what Hydra makes of choices."""
    hydra.register()
    return hydra.compose(list(texts), extra=None)
