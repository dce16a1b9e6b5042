"""Who a trial is: a hash of what its config says, whatever its place in the grid and wherever its results go."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

RESOLVER = "trial_id"
"""Its name in `conf/config.yaml`: `${trial_id:}`."""
NO_PART = frozenset({"force", "hydra", "limits", "outputs", "plan", "sweep"})
"""What says where, whether or how a trial runs, and not what it is."""
_MOMENTARY = ("${hydra:", "${now:")
"""Interpolations of a trial's number or of the clock: another order of the grid would make another trial of it."""
_DIGITS = 16


def of(root: DictConfig) -> str:
    """Return the id of a composed config; what cannot be resolved counts as it is written."""
    written = OmegaConf.to_container(root, resolve=False)
    assert isinstance(written, dict)  # noqa: S101 - the root is a table
    return digest(dict(_leaves(root, written, prefix="")), digits=_DIGITS)


def digest(parts: Mapping[str, Any], *, digits: int) -> str:
    """Return the first digits of a hash of named values, whatever their order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def register() -> None:
    """Make the id known to Hydra, so that it is the name of the trial's folder."""
    OmegaConf.register_new_resolver(RESOLVER, lambda *, _root_: of(_root_), replace=True)


def _leaves(node: DictConfig, written: Mapping[Any, Any], *, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, text in written.items():
        path = f"{prefix}{name}"
        if path in NO_PART:
            continue
        value = _value(node, name, text)
        if isinstance(value, DictConfig) and isinstance(text, dict):
            yield f"{path}:", getattr(OmegaConf.get_type(value), "__name__", "")  # lora and dora have the same fields
            yield from _leaves(value, text, prefix=f"{path}.")
        else:
            yield path, value


def _value(node: DictConfig, name: Any, text: object) -> Any:
    """Return one entry: a table as it is, anything else resolved and free of OmegaConf's classes."""
    if isinstance(text, str) and any(part in text for part in _MOMENTARY):
        return text
    try:
        value = node[name]
        if OmegaConf.is_config(value) and not (isinstance(value, DictConfig) and isinstance(text, dict)):
            return OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException:
        return text
    return value
