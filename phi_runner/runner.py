"""One run from its config to its last word: open it, perform its stages, and say how it ended whatever happened."""

import errno
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from phi_runner import environment, summary
from phi_runner.artifacts import Scorecard
from phi_runner.config.dump import to_yaml
from phi_runner.config.schema import RehearsalAzure, RunConfig, StageName
from phi_runner.console import open_console
from phi_runner.errors import PhiRunnerError, Stopped, StoreProblem
from phi_runner.events import Events, Kind, StageEvents
from phi_runner.lookup import Lookup
from phi_runner.pipeline import Run, first_line
from phi_runner.record import LogFile, RunRecord, StageRecord
from phi_runner.stages import STAGES
from phi_runner.store import Store

_DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another place with outputs=FOLDER",
    errno.EACCES: "permission denied",
}
_WRITE_FAILED = ("No space left on device", "PytorchStreamWriter", "inline_container", "disk is full")


@contextmanager
def _stoppable() -> Iterator[None]:
    """End on SIGTERM and SIGHUP as on Ctrl-C: schedulers and closed terminals leave a true record and no process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _disk_trouble(err: Exception) -> str:
    """Say what is wrong with the disk if that is what an error means; torch and safetensors wrap the system's word."""
    if isinstance(err, OSError) and err.errno in _DISK_TROUBLE:
        return _DISK_TROUBLE[err.errno] + (f" ({err.filename})" if err.filename else "")
    told = isinstance(err, PhiRunnerError) or not any(word in str(err) for word in _WRITE_FAILED)
    return "" if told else _DISK_TROUBLE[errno.ENOSPC]


def perform(config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: str | None) -> float | None:
    """Run the selected stages and leave `run.json`, `run.log` and the resolved config in `folder`.

    Returns the held-out loss when it is known (a sweep's objective); raises PhiRunnerError.
    """
    command = shlex.join(["python", "-m", "phi_runner", *overrides])
    environment.prepare(config)
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        try:
            run = _open(config, folder=folder, overrides=overrides, recipe=recipe, command=command, stack=stack)
            run.events.emit(Kind.run_started, f"run {folder}" + (f" (trial {trial})" if trial else ""))
            _perform(run, command=command)
        except Exception as err:
            trouble = _disk_trouble(err)
            if not trouble:
                raise
            raise StoreProblem(f"{trouble}; then continue with: {command}") from err
    card = run.artifacts.get(StageName.evaluate)
    return card.loss_after if isinstance(card, Scorecard) else None


def _open(config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, command: str, stack: ExitStack) -> Run:
    outputs = Path(config.outputs).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    stack.enter_context(environment.LibraryLog(folder / "libraries.log"))
    names = [stage.name for stage in STAGES if stage.name in config.stages]
    record = RunRecord(
        file=folder / "run.json", recipe=recipe, overrides=overrides, command=command,
        stages=[StageRecord(name=name) for name in names],
    )  # fmt: skip
    console = open_console(names)
    stack.callback(console.close)
    log = stack.enter_context((folder / "run.log").open("a", encoding="utf-8"))
    events = Events()
    for sink in (record.take, LogFile(log).take, console.take):
        events.listen(sink)
    store = Store(outputs / "store")
    lookup = Lookup(
        store=store,
        config=config,
        recipe=recipe,
        overrides=overrides,
        stages={stage.name: stage for stage in STAGES},
        outputs=outputs,
    )
    return Run(
        config=config, folder=folder, outputs=outputs, store=store, lookup=lookup, events=events, record=record,
        console=console, artifacts={}, keys={},
    )  # fmt: skip


def _rehearse(run: Run, stack: ExitStack) -> None:
    """Start the emulated Azure where the config asks for it."""
    config = run.config
    if not isinstance(config.azure, RehearsalAzure):
        return
    from phi_runner.azureml.rehearsal import rehearsing

    say = StageEvents(run.events, "").info
    stack.enter_context(rehearsing(config.azure, outputs=run.outputs, say=say))


def _perform(run: Run, *, command: str) -> None:
    """Run all stages; whatever happens, the record says how it ended and tied servers are gone."""
    try:
        try:
            with ExitStack() as stack:
                _rehearse(run, stack)
                run.perform()
        finally:
            run.record.values = summary.values(run.artifacts)
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
        summary.show(run.record, folder=run.folder)
        if run.config.sweep.grid:
            summary.trials(run.folder)


def sweep_table(folder: Path) -> bool:
    """Print one row per trial of a multirun and say whether all of them ended well."""
    return summary.sweep(folder)
