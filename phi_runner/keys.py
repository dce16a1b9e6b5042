"""What decides a stage's result: its config, the results it reads, local bytes, source code, library versions."""

import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phi_runner.config.dump import flat
from phi_runner.config.schema import RunConfig
from phi_runner.stages.stage import Inputs, Stage
from phi_runner.store import Parts, file_hash

_PACKAGE = Path(__file__).resolve().parent
_TEMPORARY = (".pyc", ".pyo")


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    inside = (Path(folder) / name for folder, _folders, names in os.walk(place) for name in names)
    return sorted(file for file in inside if file.suffix not in _TEMPORARY and "__pycache__" not in file.parts)


@cache
def _code(place: str) -> dict[str, str]:
    found = _files(_PACKAGE / place)
    if not found:
        raise FileNotFoundError(f"stage code {place} is not in the package")
    return {f"code:{file.relative_to(_PACKAGE).as_posix()}": file_hash(file) for file in found}


def _bytes(file: Path) -> str:
    """Return the hash of a local input; within a process it is read once, by the plan, until it changes."""
    facts = file.stat()
    return _hashed(file, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@cache
def _hashed(file: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    return file_hash(file)


@cache
def _library(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def decides(stage: Stage, path: str) -> bool:
    """Say whether a config path is one that the stage's result depends on; a part may be a group or one field of it."""
    inside = any(path == part or path.startswith(f"{part}.") for part in stage.config_parts)
    return inside and path not in stage.undecided


def parts(stage: Stage, config: RunConfig, inputs: Inputs) -> Parts:
    """Return everything that decides the stage's result, as flat names and texts; loads no heavy library."""
    found: Parts = {}
    for group in dict.fromkeys(part.partition(".")[0] for part in stage.config_parts):
        everything = flat(config, part=group)
        found |= {f"config:{path}": text for path, text in everything.items() if decides(stage, path)}
    if somewhere := stage.place(config):
        found["config:place"] = somewhere
    for read in stage.reads(config):
        found[f"input:{read}"] = inputs.keys[read]
    for number, place in enumerate(stage.local_inputs(config), start=1):
        for file in _files(place):
            label = file.name if file == place else f"{place.name}/{file.relative_to(place).as_posix()}"
            told = label if number == 1 else f"{label} (input {number})"  # two inputs may share a name
            found[f"bytes:{told}"] = _bytes(file)
    found |= {f"bytes:{label}": told for label, told in stage.told(config).items()}
    for source in stage.code:
        found |= _code(source)
    for name in stage.libraries:
        found[f"library:{name}"] = _library(name)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One part that differs from a stored result's; None: that side has no such part."""

    part: str
    """`config:train.epochs`, `bytes:rows.jsonl`, `input:data`, `library:torch` or `code:data/rows.py`."""
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """Say in a few words what has changed, from what to what."""
        kind, _, rest = self.part.partition(":")
        if kind == "config":
            return f"{rest} {_shown(self.before)} -> {_shown(self.after)}"
        if kind == "input":
            return f"it reads another result of {rest}"
        if kind == "library":
            return f"{rest} {self.before or '(none)'} -> {self.after or '(none)'}"
        what = "code" if kind == "code" else "bytes of"
        if self.before and self.after:
            return f"{what} {rest} changed"
        return f"{what} {rest} {'come new' if self.after else 'are gone'}"


def _shown(text: str | None) -> str:
    return "(unset)" if text is None else text or "''"


def _changed(before: Parts, after: Parts) -> list[str]:
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


def changes(stored: list[Parts], after: Parts) -> list[Change]:
    """Return what parts a key from the nearest stored one, the user's own choices first."""
    before = min(stored, key=lambda parts: len(_changed(parts, after)))
    order = {"config": 0, "bytes": 1, "input": 2, "library": 3, "code": 4}
    changed = sorted(_changed(before, after), key=lambda name: (order[name.partition(":")[0]], name))
    return [Change(part=name, before=before.get(name), after=after.get(name)) for name in changed]


def in_one_line(changed: list[Change], *, most: int = 3) -> str:
    """Say the first few changes, and how many more there are."""
    told = "; ".join(map(str, changed[:most]))
    return told + (f"; and {len(changed) - most} more" if len(changed) > most else "")


def difference(stored: list[Parts], after: Parts) -> str:
    """Say in one line what parts a key from the nearest stored one."""
    return in_one_line(changes(stored, after))
