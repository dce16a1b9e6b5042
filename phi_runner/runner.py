"""One run from its config to its last word: open it, perform its stages, and say how it ended whatever happened."""

import errno
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from phi_runner import environment, summary
from phi_runner.config import endings
from phi_runner.config.dump import to_yaml
from phi_runner.config.objectives import objective_of
from phi_runner.config.planning import Asked
from phi_runner.config.schema import RehearsalAzure, RunConfig
from phi_runner.config.trial import Outcome, State, Trial
from phi_runner.console import open_console
from phi_runner.errors import PhiRunnerError, Pruned, StoreProblem
from phi_runner.events import Events, Kind, StageEvents
from phi_runner.lookup import Lookup
from phi_runner.pipeline import Run, first_line
from phi_runner.plan.decide import Decisions
from phi_runner.plan.document import Verdict
from phi_runner.record import LogFile, RunRecord, StageRecord
from phi_runner.report.leaving import Leaving
from phi_runner.stages import STAGES
from phi_runner.store import Store
from phi_runner.sweep import attempt, settings, workspace
from phi_runner.sweep.attempt import Attempt

_DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another place with outputs=FOLDER",
    errno.EACCES: "permission denied",
}
_WRITE_FAILED = ("No space left on device", "PytorchStreamWriter", "inline_container", "disk is full")


def _disk_trouble(err: Exception) -> str:
    """Say what is wrong with the disk if that is what an error means; torch and safetensors wrap the system's word."""
    if isinstance(err, OSError) and err.errno in _DISK_TROUBLE:
        return _DISK_TROUBLE[err.errno] + (f" ({err.filename})" if err.filename else "")
    told = isinstance(err, PhiRunnerError) or not any(word in str(err) for word in _WRITE_FAILED)
    return "" if told else _DISK_TROUBLE[errno.ENOSPC]


def perform(config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial | None) -> float | None:
    """Run the selected stages and leave `run.json`, `run.log` and the resolved config in `folder`.

    Returns the sweep's objective where it is known, the held-out loss unless another is chosen; raises PhiRunnerError.
    """
    command = shlex.join(["python", "-m", "phi_runner", *overrides])
    quiet = trial is not None and trial.quiet
    environment.prepare(config)
    with ExitStack() as stack:
        stack.enter_context(endings.stoppable())
        try:
            run = _open(
                config, folder=folder, overrides=overrides, recipe=recipe, command=command, quiet=quiet, stack=stack
            )
            if trial:  # not in config.yaml: where a trial lies is no part of what it is
                run.config = replace(config, sweep=replace(config.sweep, trial_folder=str(folder)))
            run.events.emit(Kind.run_started, f"run {folder}" + (f" (trial {trial.number})" if trial else ""))
            _perform(run, command=command, quiet=quiet)
        except Exception as err:
            trouble = _disk_trouble(err)
            if not trouble:
                raise
            raise StoreProblem(f"{trouble}; then continue with: {command}") from err
    return objective_of(config).of(run.record.values) if run.record.status == "done" else None


def _open(
    config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, command: str, quiet: bool, stack: ExitStack
) -> Run:
    outputs = Path(config.outputs).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    stack.enter_context(environment.LibraryLog(folder / "libraries.log"))
    names = [stage.name for stage in STAGES if stage.name in config.stages]
    record = RunRecord(
        file=folder / "run.json", recipe=recipe, overrides=overrides, command=command,
        stages=[StageRecord(name=name) for name in names],
    )  # fmt: skip
    console = open_console(names, quiet=quiet)
    stack.callback(console.close)
    log = stack.enter_context((folder / "run.log").open("a", encoding="utf-8"))
    events = Events()
    for sink in (record.take, LogFile(log).take, console.take, Leaving(config, folder=folder, events=events).take):
        events.listen(sink)
    lookup = _lookup(config, recipe=recipe, overrides=overrides, outputs=outputs)
    return Run(
        config=config, folder=folder, outputs=outputs, store=lookup.store, lookup=lookup, events=events, record=record,
        console=console, artifacts={}, keys={},
    )  # fmt: skip


def plan(asked: Sequence[Asked], *, machines: bool, trials: int) -> int:
    """Print what runs would do, do nothing, and return the exit code."""
    from phi_runner.plan import answer

    return answer.plan(asked, machines=machines, trials=trials)


def _lay_out(run: Run) -> None:
    """Say the plan before anything begins; raises LimitExceeded or MissingInput."""
    from phi_runner.plan.answer import lay_out

    events = StageEvents(run.events, "")
    lay_out(
        run.config, folder=run.folder, overrides=run.record.overrides, recipe=run.record.recipe, say=events.info,
        warn=events.warn,
    )  # fmt: skip


def _lookup(config: RunConfig, *, recipe: str, overrides: list[str], outputs: Path) -> Lookup:
    return Lookup(
        store=Store(outputs / "store"), config=config, recipe=recipe, overrides=overrides,
        stages={stage.name: stage for stage in STAGES}, outputs=outputs,
    )  # fmt: skip


def _rehearse(run: Run, stack: ExitStack) -> None:
    """Start the emulated Azure where the config asks for it."""
    config = run.config
    if not isinstance(config.azure, RehearsalAzure):
        return
    from phi_runner.azureml.rehearsal import rehearsing

    say = StageEvents(run.events, "").info
    stack.enter_context(rehearsing(config.azure, outputs=run.outputs, say=say))


def _perform(run: Run, *, command: str, quiet: bool) -> None:
    """Run all stages; whatever happens, the record says how it ended and tied servers are gone."""
    try:
        try:
            _lay_out(run)
            with ExitStack() as stack:
                _rehearse(run, stack)
                run.perform()
        finally:
            run.record.values = summary.values(run.artifacts)
    except Pruned as err:
        run.record.status, run.record.error = State.pruned, first_line(err)
        run.events.emit(Kind.run_finished, f"pruned; continue with: {command}")
    except (Exception, KeyboardInterrupt) as err:
        run.record.status = "interrupted" if isinstance(err, KeyboardInterrupt) else "failed"
        run.record.error = first_line(err)
        run.events.emit(Kind.run_failed, f"{run.record.status}; continue with: {command}")
        raise
    else:
        run.record.status = "done"
        run.events.emit(Kind.run_finished, f"finished in {time.time() - run.record.started_at:.1f} s")
    finally:
        run.stop_tied()
        run.console.close()
        if not quiet:
            summary.show(run.record, folder=run.folder)
        if run.config.sweep.grid:
            workspace.show(run.folder)


def perform_trial(
    config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial, on_wait: Callable[[], None]
) -> Outcome:
    """Perform one trial of a sweep, unless it was done before and all of its results are still there.

    `on_wait` is called once where another process is at the very same trial. Raises PhiRunnerError.
    """
    settings.leave(config, folder=folder.parent)
    with attempt.held(folder, on_wait=on_wait):
        before = attempt.read(folder, trial=trial.id)
        if before and before.status is State.failed and not config.sweep.retry_failed:
            return Outcome(state=State.failed, told=f"failed before, sweep.retry_failed=false ({before.error})")
        if before and before.finished and not _why_again(config, before, folder=folder, recipe=recipe):
            return Outcome(state=State.reused, objective=before.objective, told=f"{before.status} before")
        this = attempt.begun(folder, trial=trial, overrides=overrides, before=before)
        try:
            objective = perform(config, folder=folder, overrides=overrides, recipe=recipe, trial=trial)
        except (Exception, KeyboardInterrupt) as err:
            status = State.interrupted if isinstance(err, KeyboardInterrupt) else State.failed
            this.ended(status, folder=folder, error=first_line(err)).write(folder)
            raise
        ended = this.ended(attempt.run_status(folder), folder=folder, objective=objective)
        ended.write(folder)
    return Outcome(state=ended.status, objective=objective)


def _why_again(config: RunConfig, before: Attempt, *, folder: Path, recipe: str) -> str:
    """Say why a finished trial is run again, or nothing."""
    if config.force:
        return f"force=[{','.join(config.force)}]"
    outputs = Path(config.outputs).expanduser().resolve()
    lookup = _lookup(config, recipe=recipe, overrides=before.overrides, outputs=outputs)
    stages = Decisions(config=config, lookup=lookup).walk().stages
    anew = {str(stage.name): stage.why for stage in stages if stage.verdict not in {Verdict.reuse, Verdict.skip}}
    made = {str(stage.name): stage.key for stage in stages}
    return attempt.outdated(before, folder=folder, keys=made, made_anew=anew)


def sweep_table(folder: Path, *, asked: list[str]) -> bool:
    """Print the leaderboard of a multirun and say whether all trials that were asked for ended well."""
    from phi_runner.sweep.finish import finish

    return finish(folder, asked=asked)
