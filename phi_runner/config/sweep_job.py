"""A multirun as one sweep job of a workspace: when that can be, and the single run that Hydra is started for."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from phi_runner.config import hydra
from phi_runner.config.flags import CommandLine
from phi_runner.config.schema import AzureCompute, CatalogTrain, RunConfig, StageName
from phi_runner.config.typed import Sweep, Typed, as_text

_FEWEST = 2
_PLAIN = re.compile(r"[\w.+/:-]+", re.ASCII)
"""What a node's shell takes as it is written."""
_AFTER = [stage for stage in StageName if list(StageName).index(stage) > list(StageName).index(StageName.evaluate)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepJob:
    """What the trials differ in, and what every one of them takes along."""

    grid: tuple[str, ...]
    """`key=a,b`, one for each key."""
    first: dict[str, str]
    """Overrides with the first of their values by the text that was typed; a recipe's own have no such text."""

    def translated(self, line: CommandLine) -> CommandLine:
        """Return the command line of the one run: the config is the first trial's, `sweep.grid` has all values."""
        flags = {name: value for name, value in line.flags.items() if name not in {"--multirun", "--run"}}
        typed = [self.first.get(text, text) for text in line.overrides if not text.startswith("hydra.mode=")]
        brought = [text for known, text in self.first.items() if known not in line.overrides]
        grid = ",".join(hydra.quoted(text) for text in self.grid)
        overrides = [*brought, *typed, "hydra.mode=RUN", f"sweep.grid=[{grid}]"]
        return replace(line, flags=flags, overrides=overrides)


def of(items: Sequence[Typed], *, brought: Sequence[Typed]) -> SweepJob:
    """Return the sweep job of overrides that `problems` has found nothing wrong with."""
    swept = [item for item in items if item.sweep is not Sweep.none]
    return SweepJob(
        grid=tuple(f"{item.key}={','.join(map(as_text, item.values))}" for item in swept),
        first={item.text: f"{item.sign}{item.key}={as_text(item.values[0])}" for item in [*brought, *swept]},
    )  # fmt: skip


def problems(config: RunConfig, items: Sequence[Typed], *, multirun: bool) -> Iterator[str]:
    """Yield what stands between the command line and one sweep job."""
    if config.sweep.grid:
        yield "sweep.grid is set by the runner: type -m KEY=VALUE,VALUE azure.sweep=true instead"
    if not config.azure.sweep:
        return
    swept = [item for item in items if item.sweep is not Sweep.none]
    if not multirun:
        yield "azure.sweep=true turns a multirun into one job: add -m and several values, or type azure.sweep=false"
    elif not any(len(item.values) >= _FEWEST for item in swept):
        yield "azure.sweep=true has nothing to try: type several values, such as train.learning_rate=1e-3,2e-3"
    if not isinstance(config.compute, AzureCompute):
        yield "azure.sweep=true needs a cluster of the workspace: type compute=azure_cpu or compute=azure_gpu"
    if isinstance(config.train, CatalogTrain):
        yield "azure.sweep=true sweeps over phi_runner's own training: type train=full or train=lora"
    if idle := [stage for stage in config.stages if stage in _AFTER]:
        kept = ",".join(stage for stage in config.stages if stage not in _AFTER)
        yield (
            f"azure.sweep=true leaves its models in the workspace, and {', '.join(idle)} would have none: type "
            f"stages=[{kept}], then the whole row again with the best trial's values and without -m"
        )
    for item in swept:
        yield from _of_one(item)


def _of_one(item: Typed) -> Iterator[str]:
    """Yield why a key cannot be swept over by the workspace."""
    if item.sweep is Sweep.interval:
        yield f"{item.text}: azure.sweep=true tries every value: type {item.key}={','.join(map(as_text, item.values))}"
    elif item.key == "model.path" or not (item.key == "seed" or item.key.startswith(("train.", "model."))):
        yield (
            f"{item.text}: azure.sweep=true sweeps over train.*, model.* and seed alone, as all trials share one "
            "job's files: type one value, or azure.sweep=false"
        )
    else:
        for value in item.values:
            if not _PLAIN.fullmatch(as_text(value)):
                yield f"{item.key}={as_text(value)} cannot travel to a trial of a sweep job: type azure.sweep=false"


def hydra_problem(item: Typed) -> str:
    """Say that a setting of Hydra's speaks of trials that Hydra will not start, or nothing."""
    if item.key.startswith("hydra.sweep."):
        return f"{item.text}: one sweep job has one run folder: type hydra.run.dir=FOLDER"
    return ""
