"""How much each swept key mattered: fANOVA over the finished trials."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from phi_runner.search.space import Plain

_FEWEST = 6
_SEED = 0


def importances(trials: Sequence[tuple[Mapping[str, Plain], float]]) -> tuple[dict[str, float], str]:
    """Return each varied key's share of the differences between trials, the largest first, and why it is unknown.

    `trials` are values by key with the objective. With few trials any answer would be chance, so none is given.
    """
    keys = sorted({key for values, _ in trials for key in values})
    varied = [key for key in keys if len({repr(values.get(key)) for values, _ in trials}) > 1]
    needed = max(_FEWEST, 2 * len(varied) + 1)
    if not varied:
        return {}, "no key has two values"
    if len(trials) < needed:
        return {}, f"too few trials: {len(trials)} of the {needed} that it takes"
    if len({value for _, value in trials}) == 1:
        return {}, "all trials came out alike"
    if find_spec("optuna") is None:
        return {}, "needs Optuna: pip install 'phi-runner[sweep]'"
    return _fanova(trials, varied), ""


def _fanova(trials: Sequence[tuple[Mapping[str, Plain], float]], keys: Sequence[str]) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    spaces = {key: _distribution([values.get(key) for values, _ in trials]) for key in keys}
    for values, value in trials:
        params = {key: _place(values.get(key), spaces[key]) for key in keys}
        study.add_trial(create_trial(value=value, params=params, distributions=spaces))
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=_SEED))
    return {key: float(share) for key, share in found.items()}


def _distribution(values: Sequence[Plain]) -> "optuna.distributions.BaseDistribution":  # type: ignore[name-defined] # noqa: F821
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _place(value: Plain, space: object) -> Plain:
    from optuna.distributions import CategoricalDistribution

    return str(value) if isinstance(space, CategoricalDistribution) else value
