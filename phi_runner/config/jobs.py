"""The task that Hydra calls: once for a run, once for each trial of a sweep, in whatever process a launcher chooses."""

import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from phi_runner.config import cores, endings, hydra
from phi_runner.config.check import check
from phi_runner.config.endings import Told
from phi_runner.config.load import load
from phi_runner.config.notices import Notice, Notices
from phi_runner.config.plan_mode import Mode, mode_of
from phi_runner.config.planning import Asked
from phi_runner.config.schema import RunConfig
from phi_runner.config.trial import Outcome, Plain, State, Trial
from phi_runner.errors import PhiRunnerError


class Planner(Protocol):
    """What answers `plan=true`."""

    def plan(self, asked: Sequence[Asked], *, machines: bool, trials: int) -> int:
        """Print what runs would do, do nothing, and return the exit code."""


class Runner(Planner, Protocol):
    """What this module needs of `phi_runner.runner`, which lies above it and is slow to import."""

    def perform(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial | None
    ) -> float | None:
        """Run the stages of one config and return what a sweep compares, where it is known."""

    def perform_trial(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial,
        on_wait: Callable[[], None],
    ) -> Outcome:  # fmt: skip
        """Do the same for one trial, unless that was done before; `on_wait`: another process is at it."""

    def sweep_table(self, folder: Path, *, asked: list[str]) -> bool:
        """Print how the trials of a sweep ended, and return whether those that were asked for ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """The task; it is pickled, so what it learns goes into files."""

    runner: Callable[[], Runner]
    typed: list[str] | None = None
    """What was typed, where Hydra is told something else: the one run of a sweep job."""
    notices: Notices | None = None
    """Where a sweep is told of its trials."""
    swept: tuple[str, ...] = ()
    quiet: bool = False
    """Trials run beside one another, and the process that started them speaks for all."""
    cores: int = 0
    """Cores of each trial; 0: all that there are."""

    def run(self, node: DictConfig, job: hydra.Job) -> float | None:
        """Perform one job; a run that fails raises, a trial that fails leaves a notice, and the others go on."""
        if self.notices is not None and job.trial is not None:
            return self._trial(node, job, notices=self.notices, number=int(job.trial))
        try:
            config = load(node)
            if (plan := mode_of(config)) is not Mode.no:  # a config by --config-name, which no check has read before
                asked = Asked(config=config, overrides=tuple(job.overrides), recipe=job.recipe)
                self.runner().plan([asked], machines=plan is Mode.machines, trials=1)
                return None
            check(config, multirun=bool(config.sweep.grid))
            overrides = job.overrides if self.typed is None else self.typed
            return self.runner().perform(
                config, folder=job.folder, overrides=overrides, recipe=job.recipe, trial=None
            )  # fmt: skip
        except Exception as err:
            endings.say_failure(err, after=_where(err, job.folder))
            raise Told(err.exit_code if isinstance(err, PhiRunnerError) else 1) from err

    def _trial(self, node: DictConfig, job: hydra.Job, *, notices: Notices, number: int) -> float | None:
        trial = Trial(id=job.folder.name, number=number, values=_values(job.overrides, self.swept), quiet=self.quiet)

        differs = " ".join(text for text in job.overrides if hydra.assigned(text)[0] in self.swept)

        def leave(state: State, told: str = "") -> None:
            notice = Notice(number=number, trial=trial.id, state=state, differs=differs, told=told)
            notices.leave(notice)
            if not self.quiet:
                say(notice)

        if notices.stopped:
            return None
        try:
            leave(State.running)
            outcome = self._outcome(node, job, trial=trial, on_wait=lambda: leave(State.waiting))
            leave(outcome.state, outcome.told)
            return outcome.objective
        except KeyboardInterrupt:
            leave(State.interrupted)
            raise
        except Exception as err:
            leave(State.failed, endings.failure(err) + _where(err, job.folder))
            return None

    def _outcome(self, node: DictConfig, job: hydra.Job, *, trial: Trial, on_wait: Callable[[], None]) -> Outcome:
        assert self.notices is not None  # noqa: S101 - the caller has looked
        if self.cores:
            os.environ[cores.VARIABLE] = str(self.cores)
        config = load(node)
        check(config, multirun=True)
        if self.notices.met(trial.id, number=trial.number):
            return Outcome(state=State.reused, told="the same as another trial of this sweep")
        return self.runner().perform_trial(
            config, folder=job.folder, overrides=job.overrides, recipe=job.recipe, trial=trial, on_wait=on_wait
        )


def say(notice: Notice) -> None:
    """Tell the person what became of a trial, where that is worth a line."""
    match notice.state:
        case State.failed:
            endings.say(f"{notice}: {notice.told}")
        case State.waiting:
            endings.say(f"{notice}: another process runs it: waiting", failed=False)
        case State.reused:
            endings.say(f"{notice}: not run again, {notice.told}", failed=False)
        case _:
            return


def _values(overrides: list[str], swept: tuple[str, ...]) -> dict[str, Plain]:
    """Return the swept keys with a trial's values, free of Hydra's classes."""
    found = (hydra.assigned(text) for text in overrides)
    return {key: value for key, value in found if key in swept}


def _where(err: Exception, folder: Path) -> str:
    """Keep the traceback of a failure that nobody foresaw, and say where."""
    if isinstance(err, PhiRunnerError):
        return ""
    file = folder / "traceback.txt"
    with suppress(OSError):
        file.write_text("".join(traceback.format_exception(err)), encoding="utf-8")
    return f" (traceback in {file})"
