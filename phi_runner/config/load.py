"""From Hydra's DictConfig to the typed RunConfig: everything resolved, nothing missing, errors in our words."""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

from phi_runner.config.schema import RunConfig
from phi_runner.errors import ConfigProblem

_PATHS = ("_file", "path")


def load(node: DictConfig, *, choices: Mapping[str, str] | None = None) -> RunConfig:
    """Return the typed config; raises ConfigProblem naming the key and what to type.

    `choices` are the options of the groups, for words like `data=jsonl needs ...`.
    """
    try:
        config = OmegaConf.to_object(node)
    except (OmegaConfBaseException, AttributeError, ValueError, TypeError) as err:
        missing = sorted(_missing_keys(node))  # looked for only now: it takes as long as the conversion
        told = "; ".join(_missing(key, choices or {}) for key in missing)
        raise ConfigProblem(told or reworded(err)) from err
    if not isinstance(config, RunConfig):
        raise ConfigProblem("the primary config does not begin with run_schema in its defaults")
    return config


def _missing_keys(node: DictConfig) -> set[str]:
    try:
        return OmegaConf.missing_keys(node)
    except (OmegaConfBaseException, AttributeError, ValueError, TypeError):  # what ended the conversion ends this too
        return set()


def _missing(key: str, choices: Mapping[str, str]) -> str:
    group, _, name = key.rpartition(".")
    if not group:
        return f"no option is chosen for {name}: type {name}=OPTION, see --help"
    chosen = f"{group}={choices[group]}" if group in choices else group
    return f"{chosen} needs {key}={'PATH' if name.endswith(_PATHS) else name.upper()}"


def reworded(err: Exception) -> str:
    """Return what OmegaConf says, in one line that begins with the key."""
    key = getattr(err, "full_key", None) or "the config"
    told = (str(err).splitlines() or [type(err).__name__])[0]
    if isinstance(err, InterpolationKeyError | InterpolationResolutionError):
        return f"{key} refers to something that does not exist: {told}"
    return f"{key}: {told}"
