"""The files of conf/ and recipes/: what each says about itself, chooses and sets, read as they are typed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from phi_runner.config import places
from phi_runner.config.schema import SCHEMAS

_ABOUT = "#"
_OVERRIDE = "override /"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One YAML file."""

    name: str
    about: str
    """Its first comment line."""
    chooses: tuple[str, ...]
    """Options of groups, as one would type them."""
    sets: tuple[str, ...]
    """Values of its own, as one would type them."""


def recipes() -> list[Preset]:
    """Return every recipe."""
    return [_read(file, group="") for file in sorted(places.folder("recipes").glob("*.yaml"))]


def of(group: str) -> list[Preset]:
    """Return the presets of a group, which may be one of Hydra's own, such as `hydra/launcher`."""
    folder = _hydra_folders().get(group) or places.folder("conf") / group
    return [_read(file, group=group) for file in sorted(folder.glob("*.yaml"))]


def hydra_groups() -> list[str]:
    """Return the groups of Hydra's own that presets are shipped for."""
    return sorted(_hydra_folders())


def _hydra_folders() -> dict[str, Path]:
    """Return where the presets of Hydra's groups lie: below conf/hydra, or beside ours where Hydra has some itself."""
    conf = places.folder("conf")
    beside = [folder for folder in conf.glob("*/") if folder.name not in (*SCHEMAS, "hydra")]
    return {f"hydra/{folder.name}": folder for folder in (*beside, *(conf / "hydra").glob("*/")) if folder.is_dir()}


def defaults() -> dict[str, str]:
    """Return the option of each group in a run that names none."""
    return places.chosen()


def _read(file: Path, *, group: str) -> Preset:
    text = file.read_text(encoding="utf-8")
    comments = (line[1:].strip() for line in text.splitlines() if line.startswith(_ABOUT))
    about = next((comment for comment in comments if not comment.startswith("@package")), "")
    node: dict[str, Any] = yaml.safe_load(text) or {}
    chosen = [item for item in node.pop("defaults", []) if isinstance(item, dict)]
    pairs = [(str(key).removeprefix(_OVERRIDE), value) for item in chosen for key, value in item.items()]
    prefix = f"{group.replace('/', '.')}." if group else ""
    return Preset(
        name=file.stem, about=about, chooses=tuple(f"{key}={value}" for key, value in pairs),
        sets=tuple(f"{key}={value}" for key, value in _flat(prefix, node)),
    )  # fmt: skip


def _flat(prefix: str, node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        if str(name).startswith("_"):  # Hydra's own word for the class behind a preset
            continue
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            yield prefix + str(name), f"[{','.join(map(str, value))}]"
        else:
            yield prefix + str(name), "null" if value is None else _plain(value)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
