"""Which trial is given up while it trains: Optuna's pruners over held-out losses that anybody may have measured."""

from collections.abc import Sequence
from enum import StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Curve = Sequence[tuple[int, float]]
"""Held-out losses, each with the share of the training that was done, in percent."""
_BEST_SHARE = 25.0


class PrunerName(StrEnum):
    """What may be asked for."""

    median = auto()
    """Give up what is worse than half of the trials were at the same share of their training."""
    percentile = auto()
    """Give up what is not among the best quarter."""


def falls_behind(own: Curve, others: Sequence[Curve], *, pruner: PrunerName, startup: int, warmup: int) -> bool:
    """Say whether a training is to be given up at the last point of its curve.

    `startup` is how many finished trials it takes, `warmup` the share of a training, in percent, before which none is
    given up. The study is made for the question and forgotten: the curves are kept where the trainings are.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    if not own or len(others) < startup:
        return False
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    steps = [step for step, _loss in own]
    for curve in others:
        values = _at(curve, steps)
        study.add_trial(create_trial(value=curve[-1][1], intermediate_values=values))
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=dict(own))
    return bool(_pruner(pruner, startup=startup, warmup=warmup).prune(study, trial))


def _pruner(name: PrunerName, *, startup: int, warmup: int) -> "BasePruner":
    from optuna import pruners

    share = 50.0 if name is PrunerName.median else _BEST_SHARE
    return pruners.PercentilePruner(share, n_startup_trials=startup, n_warmup_steps=warmup)


def _at(curve: Curve, steps: Sequence[int]) -> dict[int, float]:
    """Return what a training had last measured at other steps than its own: trials of another length compare too."""
    found = {}
    for step in steps:
        before = [loss for at, loss in curve if at <= step]
        if before:
            found[step] = before[-1]
    return found
