"""Configs that are made when Hydra asks for them: of all schemas and recipes a run needs nine."""

from collections.abc import Callable
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore


class _Later:
    """Stands for a config; Hydra reads a deep copy of what an entry holds, and that copy is the config itself."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:
        return self._make()


class _Entry(ConfigNode):
    """One entry of Hydra's store; nobody changes it, so it need not be copied with the store, once a composition."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> "_Entry":
        return self


def shelf(group: str | None) -> dict[str, Any]:
    """Return where Hydra's store keeps the configs of a group, `hydra/launcher` too."""
    found: dict[str, Any] = ConfigStore.instance().repo
    for part in group.split("/") if group else ():
        found = found.setdefault(part, {})
    return found


def store(name: str, make: Callable[[], Any], *, group: str | None = None, package: str | None = None) -> None:
    """Put a config into Hydra's store by the function that makes it, anew each time."""
    node: Any = _Later(make)
    shelf(group)[f"{name}.yaml"] = _Entry(name=f"{name}.yaml", node=node, group=group, package=package, provider=None)
