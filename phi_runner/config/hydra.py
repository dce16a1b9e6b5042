"""The bridge to Hydra: schemas and recipes go in, parsed overrides, composed configs and runs come out."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, OverrideType, Quote, QuotedString, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from phi_runner.config import identity, later, launchers, optuna_sweeper, places
from phi_runner.config.schema import SCHEMAS, RunConfig
from phi_runner.config.typed import Sign, Sweep, Typed
from phi_runner.config.vocabulary import RECIPE, Vocabulary
from phi_runner.errors import ConfigProblem, UsageProblem

VERSION_BASE = "1.3"
CONFIG_NAME = "config"
_MOST_VALUES = 1000
"""Values of one sweep that are looked at before it starts."""
_LONGEST = 400
"""Characters of a library's message that fit one line."""
_SIGNS = {
    OverrideType.CHANGE: Sign.set, OverrideType.ADD: Sign.add,
    OverrideType.FORCE_ADD: Sign.force, OverrideType.DEL: Sign.remove,
}  # fmt: skip
_SWEEPS = {
    ValueType.CHOICE_SWEEP: Sweep.listed, ValueType.SIMPLE_CHOICE_SWEEP: Sweep.listed,
    ValueType.RANGE_SWEEP: Sweep.counted, ValueType.INTERVAL_SWEEP: Sweep.interval,
    ValueType.GLOB_CHOICE_SWEEP: Sweep.glob,
}  # fmt: skip


@cache
def register() -> None:
    """Teach Hydra the schemas and every recipe; recipes stay flat files and work from any directory."""
    identity.register()
    later.store("run_schema", partial(OmegaConf.structured, RunConfig))
    for group, schemas in SCHEMAS.items():
        for kind, schema in schemas.items():
            later.store(f"{kind}_schema", partial(OmegaConf.structured, schema), group=group)
    for file in sorted(places.folder("recipes").glob("*.yaml")):
        later.store(file.stem, partial(OmegaConf.load, file), group=RECIPE, package="_global_")
    optuna_sweeper.register()
    launchers.register()


def parse(text: str, words: Vocabulary) -> Typed | None:
    """Take one override apart; None where Hydra's grammar cannot read it."""
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return None
    if not override.key_or_group:
        return None
    sweep = _SWEEPS.get(override.value_type, Sweep.none) if override.value_type else Sweep.none
    return Typed(
        text=text, sign=_SIGNS[override.type], key=override.key_or_group, package=override.package or "",
        values=tuple(_values(override, words)), sweep=sweep,
    )  # fmt: skip


def _values(override: Override, words: Vocabulary) -> list[object]:
    value: object = override.value()
    if isinstance(value, Glob):
        return list(value.filter(list(words.groups.get(override.key_or_group, {}))))
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    if override.is_sweep_override():
        return [_plain(item) for item in itertools.islice(override.sweep_iterator(), _MOST_VALUES)]
    return [value]


def _plain(value: object) -> object:
    if isinstance(value, QuotedString):
        return value.text
    return [_plain(item) for item in value] if isinstance(value, list) else value


def assigned(text: str) -> tuple[str, Any]:
    """Return the key and the plain value of an override that Hydra has accepted."""
    override = OverridesParser.create().parse_override(text)
    return override.key_or_group, _plain(override.value())


def quoted(text: str) -> str:
    """Return a text as a value that Hydra's grammar takes literally."""
    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()


def compose(overrides: Sequence[str], *, extra: Path | None) -> DictConfig:
    """Compose a config from choices of options and settings of Hydra itself; raises ConfigProblem in one line."""
    search = [f"hydra.searchpath=[{quoted(f'file://{extra}')}]"] if extra else []
    try:
        with hydra.initialize_config_dir(str(places.folder("conf")), version_base=VERSION_BASE):
            return hydra.compose(CONFIG_NAME, overrides=[*search, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as err:
        raise ConfigProblem(in_one_line(err)) from err


@contextmanager
def set_aside() -> Iterator[None]:
    """Let another config be composed in the middle of a job: Hydra holds one at a time."""
    everything = GlobalHydra.instance()
    job, everything.hydra = everything.hydra, None
    try:
        yield
    finally:
        everything.hydra = job


@contextmanager
def as_job(node: DictConfig) -> Iterator[None]:
    """Let `${hydra:...}` in values resolve as it will in the first job."""
    node.hydra.job.num, node.hydra.job.id, node.hydra.runtime.output_dir = 0, "0", "."
    HydraConfig.instance().set_config(node)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = None


def in_one_line(err: BaseException) -> str:
    """Return what an exception of Hydra's and its cause say, without line breaks."""
    cause = f": {err.__cause__}" if isinstance(err.__cause__, OmegaConfBaseException) else ""
    text = f"{err}{cause}".partition("Config search path")[0].partition("full_key:")[0]
    return " ".join(text.split())[:_LONGEST]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What Hydra knows about the job it is running."""

    folder: Path
    overrides: list[str]
    recipe: str
    trial: str | None
    """Number of the trial in a sweep."""


def start(arguments: Sequence[str], task: Callable[[DictConfig, Job], float | None]) -> None:
    """Let Hydra act on a command line, calling `task` for every job; raises PhiRunnerError for Hydra's own errors."""

    def main(node: DictConfig) -> float | None:
        return task(node, _job())

    register()
    typed = sys.argv
    sys.argv = [typed[0], *arguments]
    try:
        hydra.main(version_base=VERSION_BASE, config_path=str(places.folder("conf")), config_name=CONFIG_NAME)(main)()
    except (HydraException, OmegaConfBaseException) as err:
        raise ConfigProblem(in_one_line(err)) from err
    except ValueError as err:  # what Hydra raises for flags that make no sense together
        raise UsageProblem(in_one_line(err)) from err
    finally:
        sys.argv = typed


def _job() -> Job:
    settings = HydraConfig.get()
    return Job(
        folder=Path(settings.runtime.output_dir), overrides=[str(text) for text in settings.overrides.task],
        recipe=str(settings.runtime.choices.get(RECIPE) or ""),
        trial=str(settings.job.num) if settings.mode is RunMode.MULTIRUN else None,
    )  # fmt: skip
