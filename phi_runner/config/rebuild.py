"""A typed config from the plain values that `config.yaml` of a run, or a task's file, holds."""

from collections.abc import Iterable, Mapping
from typing import Any

from phi_runner.config.load import load, reworded
from phi_runner.config.schema import SCHEMAS, RunConfig
from phi_runner.errors import ConfigProblem


def kinds_of(config: RunConfig) -> dict[str, str]:
    """Return the kind of each group: `config.yaml` has the values alone, and two kinds may share all fields."""
    chosen = ((group, getattr(config, group)) for group in SCHEMAS)
    return {group: str(part.kind) for group, part in chosen if hasattr(part, "kind")}


def rebuild(values: Mapping[str, Any], *, kinds: Mapping[str, str], overrides: Iterable[str] = ()) -> RunConfig:
    """Return the config; raises ConfigProblem where this version of the program has other settings."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    unknown = [f"{group}={kind}" for group, kind in kinds.items() if kind not in SCHEMAS.get(group, {})]
    if unknown:
        raise ConfigProblem(f"the stored config names {', '.join(unknown)}, which this version does not know")
    node: Any = OmegaConf.structured(RunConfig)
    try:
        for group, kind in kinds.items():
            node[group] = OmegaConf.structured(SCHEMAS[group][kind])
        merged: Any = OmegaConf.merge(node, dict(values), OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, ValueError, TypeError) as err:
        raise ConfigProblem(f"the stored config does not fit this version: {reworded(err)}") from err
    return load(merged)
