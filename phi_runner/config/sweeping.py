"""One sweep as it was typed: the name of its folder, what its trials differ in, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from omegaconf import DictConfig

from phi_runner.config import cores, identity, launchers
from phi_runner.config.flags import CommandLine
from phi_runner.config.typed import Sweep, Typed, as_text
from phi_runner.config.vocabulary import RECIPE

_DIGITS = 8
_BASIC = "basic"
_ALL_AT_ONCE = "submitit_local"
"""The launcher that starts a process for each trial that it is handed."""
_PLACE = "hydra.sweep.dir"
_SWEEPS = "sweeps"
"""Last part of that setting's default; a recipe may have set another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeping:
    """What is known before the first trial."""

    name: str
    """The same for the same command, for one with further values, and for one with its values in another order."""
    keys: tuple[str, ...]
    """What the trials differ in."""
    count: int | None
    """Trials; None: a sweeper decides while it goes on."""
    launcher: str
    cores: int
    """Cores of each trial; 0: all that there are."""
    batch: int
    """Trials that are handed to the launcher at a time; 0: all of them, and it divides them itself."""
    spelled: dict[str, str]
    """Overrides that Hydra is told otherwise, by the text that was typed; a recipe's own have no such text."""

    def told(self, line: CommandLine) -> list[str]:
        """Return the overrides for Hydra."""
        mine = [self.spelled.get(text, text) for text in line.overrides]
        return [*mine, *(told for text, told in self.spelled.items() if text not in line.overrides)]

    def folder(self, place: Path, *, typed: Sequence[Typed]) -> Path:
        """Return the sweep's folder: the one that somebody typed, else its own in the place of all sweeps."""
        return place if any(item.key == _PLACE for item in typed) or place.name != _SWEEPS else place / self.name


def hydra_problem(item: Typed) -> str:
    """Say that a setting of Hydra's would take the trials' names away, or nothing."""
    if item.key == "hydra.sweep.subdir":
        return f"{item.text}: trials are named by what they are, so that they are found again: type {_PLACE}=FOLDER"
    return ""


def of(items: Sequence[Typed], *, hydra: DictConfig, config_dir: Path | None) -> Sweeping:
    """Describe the sweep of overrides with which nothing is wrong; `hydra` is Hydra's own composed node."""
    swept = {item.key: item for item in items if item.sweep is not Sweep.none}
    fixed = {item.key: item for item in items if item.sweep is Sweep.none and not item.about_hydra}
    choices = hydra.runtime.choices
    launcher, sweeper = str(choices[launchers.GROUP]), str(choices["hydra/sweeper"])
    recipe = as_text(fixed[RECIPE].values[0]) if RECIPE in fixed else "sweep"
    each = launchers.cores_each(launcher, hydra.launcher)
    typed = hydra.sweeper.get("max_batch_size")
    at_once = (
        max(1, cores.here() // max(1, each)) if launcher == _ALL_AT_ONCE and sweeper == _BASIC and not typed else 0
    )
    known = sweeper == _BASIC and all(item.sweep is not Sweep.interval for item in swept.values())
    return Sweeping(
        name=f"{recipe}_{_hash(fixed, swept=sorted(swept), sweeper=sweeper, config_dir=config_dir)}",
        keys=tuple(swept), count=prod(len(item.values) for item in swept.values()) if known else None,
        launcher=launcher, cores=each, batch=at_once,
        spelled={item.text: _listed(item) for item in swept.values() if item.sweep is Sweep.glob},
    )  # fmt: skip


def _hash(fixed: dict[str, Typed], *, swept: Sequence[str], sweeper: str, config_dir: Path | None) -> str:
    """Hash what all trials share: overrides by their values, so that 1e-3 and 0.001 are one sweep."""
    shared = {
        f"{item.sign}{item.key}": [as_text(value) for value in item.values]
        for item in fixed.values()
        if item.key.partition(".")[0] not in identity.NO_PART
    }
    parts = {"fixed": shared, "swept": list(swept), "presets": str(config_dir or "")}
    return identity.digest(parts | ({} if sweeper == _BASIC else {"sweeper": sweeper}), digits=_DIGITS)


def _listed(item: Typed) -> str:
    """Spell a pattern out: Hydra's own match would bring the schemas along, which are no presets."""
    return f"{item.sign}{item.key}={','.join(map(as_text, item.values))}"
