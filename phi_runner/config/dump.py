"""A config as text: YAML for the run folder, flat `path: value` pairs for keys and comparisons."""

from dataclasses import asdict, fields, is_dataclass
from typing import Any

from phi_runner.config.schema import RunConfig


def _flat(prefix: str, value: Any) -> dict[str, str]:
    if is_dataclass(value) and not isinstance(value, type):
        found = {f"{prefix}.kind": str(value.kind)} if hasattr(value, "kind") else {}
        for item in fields(value):
            found |= _flat(f"{prefix}.{item.name}", getattr(value, item.name))
        return found
    if isinstance(value, dict):
        return {path: text for name in sorted(value) for path, text in _flat(f"{prefix}.{name}", value[name]).items()}
    if isinstance(value, list):
        return {prefix: "[" + ", ".join(str(item) for item in value) + "]"}
    return {prefix: str(value)}


def flat(config: RunConfig, *, part: str) -> dict[str, str]:
    """Return one part of the config as dotted paths and texts: `{'data.take': '100%', ...}`."""
    return _flat(part, getattr(config, part))


def to_yaml(config: RunConfig) -> str:
    """Return the resolved config as YAML; it holds no secret, only names of variables that do."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
