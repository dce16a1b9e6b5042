"""Typed configs over the shipped presets, built as a run builds them."""

import shlex
from copy import deepcopy
from functools import cache

from phi_runner.config import hydra
from phi_runner.config.composed import task
from phi_runner.config.load import load
from phi_runner.config.schema import RunConfig


def config_of(overrides: str = "") -> RunConfig:
    """Compose the shipped configs with overrides that Hydra itself applies, without any check of ours."""
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: str) -> RunConfig:
    hydra.register()
    return load(task(hydra.compose(shlex.split(overrides), extra=None)))
