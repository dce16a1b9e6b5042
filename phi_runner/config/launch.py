"""From a checked command line to finished stages: Hydra makes the folders and the trials, we say how they ended."""

import itertools
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from phi_runner.config import endings, hydra
from phi_runner.config.check import check
from phi_runner.config.endings import Told
from phi_runner.config.flags import CommandLine
from phi_runner.config.load import load
from phi_runner.config.precheck import precheck
from phi_runner.config.schema import RunConfig
from phi_runner.errors import PhiRunnerError, StoreProblem


class Runner(Protocol):
    """What this module needs of `phi_runner.runner`, which lies above it and is slow to import."""

    def perform(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: str | None
    ) -> float | None:
        """Run the stages of one config and return what a sweep minimises, where it is known."""

    def sweep_table(self, folder: Path) -> bool:
        """Print how the trials of a sweep ended and return whether all of them ended well."""


@dataclass(slots=True, kw_only=True)
class _Jobs:
    """The task that Hydra calls once for a run and once for each trial of a sweep."""

    runner: Callable[[], Runner]
    typed: list[str] | None = None
    """What was typed, where Hydra is told something else: the one run of a sweep job."""
    failed: list[hydra.Job] = field(default_factory=list)

    def run(self, node: DictConfig, job: hydra.Job) -> float | None:
        """Perform one job; a failure is said here and raised, so that the trials to come still run."""
        try:
            config = load(node)
            check(config, multirun=job.trial is not None or bool(config.sweep.grid))
            overrides = job.overrides if self.typed is None else self.typed
            return self.runner().perform(
                config, folder=job.folder, overrides=overrides, recipe=job.recipe, trial=job.trial
            )
        except Exception as err:
            self.failed.append(job)
            trial = f"trial {job.trial} ({' '.join(job.overrides)}): " if job.trial is not None else ""
            endings.say_failure(err, before=trial, after=_where(err, job.folder))
            raise Told(err.exit_code if isinstance(err, PhiRunnerError) else 1) from err


def _where(err: Exception, folder: Path) -> str:
    """Keep the traceback of a failure that nobody foresaw, and say where."""
    if isinstance(err, PhiRunnerError):
        return ""
    file = folder / "traceback.txt"
    with suppress(OSError):
        file.write_text("".join(traceback.format_exception(err)), encoding="utf-8")
    return f" (traceback in {file})"


def launch(line: CommandLine, *, runner: Callable[[], Runner]) -> int:
    """Check the command line, do what it says and return the exit code; raises PhiRunnerError."""
    jobs = _Jobs(runner=runner)
    hydra.register()
    checked = precheck(line) if line.ours else None
    if checked is None or not line.runs:
        with endings.raising():
            hydra.start(line.arguments(), jobs.run)
        return 0
    for warning in checked.warnings:
        endings.say(f"warning: {warning}")
    if checked.sweep_job:
        jobs.typed, line = line.arguments(), checked.sweep_job.translated(line)
    key = "hydra.sweep.dir" if checked.multirun else "hydra.run.dir"
    is_fixed = any(text.startswith(f"{key}=") for text in line.overrides)
    folder = checked.folder if is_fixed else claim(checked.folder)
    more = [] if is_fixed else [f"{key}={hydra.quoted(str(folder))}"]
    try:
        with endings.raising(), endings.without_hydras_line():
            hydra.start([*line.arguments(), *more], jobs.run)
    except Told:
        if not checked.multirun:
            raise
    if not checked.multirun:
        return 0
    return 0 if runner().sweep_table(folder) and not jobs.failed else 1


def claim(folder: Path) -> Path:
    """Make a folder that nobody else has; a number is added where another run began in the same second."""
    for number in itertools.count(1):
        mine = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            mine.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as err:
            raise StoreProblem(f"{mine} cannot be made ({os.strerror(err.errno or 0)}): type outputs=FOLDER") from err
        return mine
    raise AssertionError("unreachable")
