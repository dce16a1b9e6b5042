"""Every name that may stand on the command line: groups with their options, and the keys of every schema."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from phi_runner.config import places
from phi_runner.config.places import Preset
from phi_runner.config.schema import SCHEMAS, RunConfig

RECIPE = "recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting, by its dotted path."""

    path: str
    hint: Any
    """Its type as the schema writes it."""
    kinds: tuple[str, ...] = ()
    """The kinds of its group that have it; empty where there are no kinds."""

    @property
    def group(self) -> str:
        """The first part of the path."""
        return self.path.partition(".")[0]

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return get_origin(self.hint) is list

    @property
    def is_table(self) -> bool:
        """Whether it holds settings of its own, rather than a value."""
        return self.is_open or is_dataclass(self.hint)

    @property
    def is_open(self) -> bool:
        """Whether names that no schema knows may be added below it."""
        return get_origin(self.hint) is dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What may be typed."""

    groups: dict[str, dict[str, Preset]]
    """Options by group; `recipe` is the last group."""
    keys: dict[str, Key]

    def kind(self, group: str, option: str) -> str:
        """Return the schema that an option fills, or nothing."""
        preset = self.groups.get(group, {}).get(option)
        return preset.kind if preset else ""

    def options_of(self, key: Key) -> list[str]:
        """Return the options of the key's group that have the key."""
        return [preset.name for preset in self.groups[key.group].values() if preset.kind in key.kinds]

    def open_parent(self, path: str) -> Key | None:
        """Return the key of the dictionary that `path` lies in, such as `train.extra`."""
        return next((key for key in self.keys.values() if key.is_open and path.startswith(f"{key.path}.")), None)


def vocabulary(extra: Path | None = None) -> Vocabulary:
    """Return all names, those of a user's `--config-dir` among them."""
    groups = {group: places.presets(group, extra=extra) for group in (*SCHEMAS, RECIPE)}
    return Vocabulary(groups=groups, keys=_keys())


@cache
def _keys() -> dict[str, Key]:
    found: dict[str, Key] = {}
    for path, hint in _walk("", RunConfig):
        if path in SCHEMAS:
            for kind, schema in SCHEMAS[path].items():
                for below, below_hint in _walk(f"{path}.", schema):
                    kinds = (*found[below].kinds, kind) if below in found else (kind,)
                    found[below] = Key(path=below, hint=below_hint, kinds=kinds)
        elif path.partition(".")[0] not in SCHEMAS:
            found[path] = Key(path=path, hint=hint)
    return found


def _walk(prefix: str, schema: type) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(schema)
    for item in fields(schema):
        hint = hints[item.name]
        yield prefix + item.name, hint
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _walk(f"{prefix}{item.name}.", hint)
