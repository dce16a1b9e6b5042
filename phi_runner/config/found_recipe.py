"""A recipe from a run that was made: the presets that it chose, and every value that differs from theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from phi_runner.config import hydra, places
from phi_runner.config.composed import task
from phi_runner.config.identity import NO_PART
from phi_runner.config.schema import SCHEMAS
from phi_runner.config.vocabulary import RECIPE

_WHERE = NO_PART | {"run", "runs", RECIPE}
"""What says where and whether a run is made, and so is the next user's business."""


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line, as recipes do."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def recipe(
    values: Mapping[str, Any], *, overrides: Sequence[str], extra: Path | None, about: str, notes: Sequence[str] = ()
) -> str:
    """Return the text of a recipe that composes to the config `values`, the run's own `config.yaml`.

    `overrides` are those of the run, `extra` is the folder of presets that it was given. `about` becomes the first
    comment, which help shows, `notes` more comments. Raises ConfigProblem where the presets are gone.
    """
    chosen = _choices(overrides, extra=extra)
    base = _plain(task(hydra.compose([f"{group}={option}" for group, option in chosen.items()], extra=extra)))
    usual = places.chosen()
    defaults = [f"  - override /{group}: {option}" for group, option in chosen.items() if usual.get(group) != option]
    own = {name: value for name, value in _differing(values, base).items() if name not in _WHERE}
    # Hydra reads the package of a file in a folder of one's own from its very first line.
    lines = ["# @package _global_", f"# {about}", *(f"# {note}" for note in notes)]
    lines += ["defaults:", *defaults] if defaults else []
    body = yaml.dump(_literal(own), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) if own else ""
    return "\n".join(lines) + "\n" + body


def _plain(node: DictConfig) -> dict[str, Any]:
    """Return a composed config as `config.yaml` would have it; values that refer to a missing one as they stand."""
    try:
        text = OmegaConf.to_yaml(node, resolve=True)
    except OmegaConfBaseException:
        text = OmegaConf.to_yaml(node)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _choices(overrides: Sequence[str], *, extra: Path | None) -> dict[str, str]:
    """Return the option of each group as the run's own overrides, its recipe among them, choose it."""
    groups = [*SCHEMAS, RECIPE]
    choosing = [text for text in overrides if text.partition("=")[0].lstrip("+") in groups]
    composed = hydra.compose(choosing, extra=extra).hydra.runtime.choices
    return {group: str(composed[group]) for group in SCHEMAS}


def _differing(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        usual = base.get(name)
        if isinstance(value, dict) and isinstance(usual, dict):
            if below := _differing(value, usual):
                found[name] = below
        elif name not in base or value != usual:
            found[name] = value
    return found


def _literal(value: Any) -> Any:
    """Keep what was resolved from being resolved again."""
    if isinstance(value, dict):
        return {name: _literal(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
