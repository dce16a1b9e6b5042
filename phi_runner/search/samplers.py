"""How the next trial is chosen: Optuna's samplers by the names that a preset may give them."""

from enum import StrEnum, auto
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_STARTUP = 5
"""Trials drawn at random before a sampler trusts what it has seen; Optuna's own ten are most of a small sweep."""
_STRIDE = 1_000_003


class SamplerName(StrEnum):
    """What may be asked for."""

    tpe = auto()
    """Tree-structured Parzen estimator: takes every kind of key, good from few trials on."""
    random = auto()
    gp = auto()
    """Gaussian process: the fewest trials for a few numeric keys."""
    cmaes = auto()
    """Evolution strategy: many cheap trials of several numeric keys."""


def problem(name: str) -> str:
    """Say why a sampler cannot be had, or nothing."""
    if name not in set(SamplerName):
        return f"hydra.sweeper.sampler={name} is none of {', '.join(SamplerName)}: type hydra.sweeper.sampler=tpe"
    if find_spec("optuna") is None:
        return "hydra/sweeper=optuna needs Optuna: type pip install 'phi-runner[sweep]'"
    if name == SamplerName.cmaes and find_spec("cmaes") is None:
        return "hydra.sweeper.sampler=cmaes needs its package: type pip install 'phi-runner[sweep]'"
    return ""


def make(name: SamplerName, *, seed: int, number: int) -> "BaseSampler":
    """Return a sampler for one question.

    It is seeded by the question's number: a sweep that was killed goes on as if nothing had happened, whereas one
    generator for the whole study would begin anew.
    """
    from optuna import samplers

    mixed = (seed * _STRIDE + number) % 2**32
    match name:
        case SamplerName.tpe:
            return samplers.TPESampler(n_startup_trials=_STARTUP, seed=mixed)
        case SamplerName.random:
            return samplers.RandomSampler(seed=mixed)
        case SamplerName.gp:
            return samplers.GPSampler(n_startup_trials=_STARTUP, seed=mixed, warn_independent_sampling=False)
        case SamplerName.cmaes:
            return samplers.CmaEsSampler(seed=mixed, warn_independent_sampling=False)
