"""What a recipe would do if nothing were typed behind it, to tell a run's own choices from it."""

from collections.abc import Mapping
from functools import cache

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from phi_runner.config import hydra
from phi_runner.config.composed import task
from phi_runner.config.vocabulary import RECIPE
from phi_runner.errors import PhiRunnerError


@cache
def of_recipe(recipe: str, *, options: tuple[str, ...] = ()) -> dict[str, str] | None:
    """Return every setting of a recipe as path and text, `{'data.take': '100%', ...}`; no recipe: of the presets alone.

    `options` are presets chosen behind it, `data=jsonl`: what they bring is no choice of its own. None where it cannot
    be composed: a recipe of a user's own folder, or one that is no longer shipped.
    """
    hydra.register()
    try:
        with hydra.set_aside():
            node = task(hydra.compose([*([f"+{RECIPE}={recipe}"] if recipe else []), *options], extra=None))
        plain = OmegaConf.to_container(node, resolve=True, enum_to_str=True)  # what must be typed stays `???`
    except (PhiRunnerError, OmegaConfBaseException):
        return None
    return flattened(plain)


def flattened(values: object, *, path: str = "") -> dict[str, str]:
    """Return nested plain values as dotted paths and texts."""
    if isinstance(values, Mapping):
        found: dict[str, str] = {}
        for name, inner in values.items():
            found |= flattened(inner, path=f"{path}.{name}" if path else str(name))
        return found
    if isinstance(values, list):
        return {path: "[" + ", ".join(map(str, values)) + "]"}
    return {path: str(values)}
