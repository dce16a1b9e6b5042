"""Perform the selected stages in order: reuse what is stored, run the rest, stop at the first failure."""

import errno
import os
import shlex
import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from phi_runner import artifacts, environment, keys, processes, summary
from phi_runner.artifacts import Artifact, Scorecard
from phi_runner.config.dump import to_yaml
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.console import Console, open_console
from phi_runner.errors import PhiRunnerError, StoreProblem
from phi_runner.events import Events, Kind, StageEvents
from phi_runner.lookup import Lookup
from phi_runner.record import LogFile, RunRecord, StageRecord
from phi_runner.stages import STAGES
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.store import Parts, Store, key_of

_DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another place with outputs=FOLDER",
    errno.EACCES: "permission denied: choose another place with outputs=FOLDER",
}


@dataclass(slots=True, kw_only=True)
class Run:
    """One run in progress: what was asked, what was made so far, and who is told."""

    config: RunConfig
    folder: Path
    outputs: Path
    store: Store
    lookup: Lookup
    events: Events
    record: RunRecord
    console: Console
    artifacts: dict[StageName, Artifact]
    keys: dict[StageName, str]

    def perform(self) -> None:
        """Perform every selected stage."""
        chosen = [stage for stage in STAGES if stage.name in self.config.stages]
        for position, stage in enumerate(chosen):
            reason = stage.skip(self.config)
            if reason:
                self._tell(Kind.stage_skipped, stage, f"skipped: {reason}", why=reason)
                continue
            self._warm_up(chosen[position + 1 : position + 2], waiting=stage)
            if stage.interactive:
                self.console.pause()
            self._perform(stage)

    def _warm_up(self, following: list[Stage], *, waiting: Stage) -> None:
        """Import what the next stage needs while this one only waits for a server."""
        for stage in following:
            if stage.warm_up and not waiting.pure and not stage.skip(self.config):
                threading.Thread(target=stage.warm_up, args=(self.config,), daemon=True).start()

    def _perform(self, stage: Stage) -> None:
        try:
            inputs = self._inputs(stage)
            if stage.produces is None:
                self._tell(Kind.stage_started, stage, "started")
                begun = time.perf_counter()
                stage.run(self.config, inputs, self._run_dir(stage, folder=self.folder, key=""))
                self._finish(stage, time.perf_counter() - begun, why="always runs")
                return
            parts = keys.parts(stage, self.config, inputs)
            key = key_of(parts)
            wait = StageEvents(self.events, stage.name)
            with self.store.lock(
                stage.name, key, on_wait=lambda: wait.info("another process makes this result: waiting")
            ):
                self.artifacts[stage.name] = self._reuse_or_make(stage, inputs, parts, key)
            self.keys[stage.name] = key
        except (Exception, KeyboardInterrupt) as err:
            self._tell(Kind.stage_failed, stage, f"failed: {_first_line(err)}", why=_first_line(err))
            raise

    def _inputs(self, stage: Stage) -> Inputs:
        for name in stage.reads(self.config):
            if name not in self.artifacts:
                found = self.lookup.find(name, reader=stage.name)
                self.artifacts[name], self.keys[name] = found.artifact, found.key
                message = f"reads {name} {found.key[:12]} ({found.why})"
                self.events.emit(Kind.info, message, stage=stage.name)
        return Inputs(dict(self.artifacts), dict(self.keys))

    def _run_dir(self, stage: Stage, *, folder: Path, key: str) -> RunDir:
        return RunDir(folder=folder, outputs=self.outputs, key=key, events=StageEvents(self.events, stage.name))

    def _reuse_or_make(self, stage: Stage, inputs: Inputs, parts: Parts, key: str) -> Artifact:
        assert stage.produces is not None  # noqa: S101 - the caller has checked it
        record = self.record.stage(stage.name)
        record.key = key
        folder = self.store.folder(stage.name, key)
        why = self._why_run(stage, parts, key)
        if not why:
            artifact = artifacts.load(stage.produces, folder=folder)
            why = stage.still_true(self.config, artifact, self.outputs)
            if not why:
                self._link(stage, folder)
                self._tell(
                    Kind.stage_reused, stage, f"reused {key[:12]}: nothing it depends on has changed", why="unchanged"
                )
                return artifact
        return self._make(stage, inputs, parts, key=key, why=why)

    def _why_run(self, stage: Stage, parts: Parts, key: str) -> str:
        """Say why a stored result cannot simply be taken, or nothing."""
        if stage.name in self.config.force:
            if self.store.folder(stage.name, key).exists():
                self.store.set_aside(stage.name, key)
            shutil.rmtree(self.store.work_folder(stage.name, key), ignore_errors=True)
            return f"force=[{stage.name}]"
        manifest, damage = self.store.look(stage.name, key)
        if manifest:
            return ""
        if damage:
            self.store.set_aside(stage.name, key)
            return f"the stored result is damaged ({damage})"
        if any(self.store.work_folder(stage.name, key).iterdir()):
            return "an interrupted run left it unfinished"
        before = self.store.manifests(stage.name)
        return keys.difference(before[0].parts, parts) if before else "no result yet"

    def _make(self, stage: Stage, inputs: Inputs, parts: Parts, *, key: str, why: str) -> Artifact:
        self._tell(Kind.stage_started, stage, f"started: {why}", why=why)
        folder = self.store.work_folder(stage.name, key)
        if not stage.pure:
            shutil.rmtree(folder)
            folder.mkdir()
        begun = time.perf_counter()
        artifact = stage.run(self.config, inputs, self._run_dir(stage, folder=folder, key=key))
        if artifact is None or stage.produces is None:
            raise TypeError(f"stage {stage.name} returned no result")
        artifacts.save(artifact)
        seconds = time.perf_counter() - begun
        above = {str(name): inputs.keys[name] for name in stage.reads(self.config)}
        self.store.publish(stage.name, key, parts=parts, inputs=above, seconds=seconds)
        final = self.store.folder(stage.name, key)
        self._link(stage, final)
        self._finish(stage, seconds, why=why)
        return artifacts.load(stage.produces, folder=final)

    def _link(self, stage: Stage, folder: Path) -> None:
        """Leave a link to the result in the run folder."""
        self.record.stage(stage.name).result = str(folder)
        link = self.folder / "results" / stage.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder, link.parent))

    def _finish(self, stage: Stage, seconds: float, *, why: str) -> None:
        record = self.record.stage(stage.name)
        record.seconds = round(seconds, 3)
        self._tell(Kind.stage_finished, stage, f"done in {seconds:.1f} s", why=why, seconds=seconds)

    def _tell(self, kind: Kind, stage: Stage, message: str, *, why: str = "", **values: float) -> None:
        record = self.record.stage(stage.name)
        status = {
            Kind.stage_skipped: "skipped", Kind.stage_reused: "reused", Kind.stage_started: "running",
            Kind.stage_finished: "done", Kind.stage_failed: "failed",
        }[kind]  # fmt: skip
        record.status, record.why = status, why or record.why
        self.events.emit(kind, message, stage=stage.name, why=why, **values)

    def stop_tied(self) -> None:
        """End the servers that this process started and that nobody asked to keep."""
        for running in processes.listed(outputs=self.outputs):
            if not running.detached and _parent(running.pid) == os.getpid():
                processes.stop_recorded(running, outputs=self.outputs)


def _parent(pid: int) -> int:
    try:
        return int(psutil.Process(pid).ppid())
    except psutil.NoSuchProcess:
        return 0


def _first_line(err: BaseException) -> str:
    text = "interrupted" if isinstance(err, KeyboardInterrupt) else str(err) or type(err).__name__
    return text.splitlines()[0]


def perform(config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: str | None) -> float | None:
    """Run the selected stages and leave `run.json`, `run.log` and the resolved config in `folder`.

    Returns the held-out loss when it is known (a sweep's objective); raises PhiRunnerError.
    """
    command = shlex.join(["python", "-m", "phi_runner", *overrides])
    environment.prepare(config)
    with ExitStack() as stack:
        try:
            run = _open(config, folder=folder, overrides=overrides, recipe=recipe, command=command, stack=stack)
            run.events.emit(Kind.run_started, f"run {folder}" + (f" (trial {trial})" if trial else ""))
            _perform(run, command=command)
        except OSError as err:
            if err.errno not in _DISK_TROUBLE:
                raise
            where = f" ({err.filename})" if err.filename else ""
            raise StoreProblem(f"{_DISK_TROUBLE[err.errno]}{where}; then continue with: {command}") from err
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
        overrides=overrides,
        stages={stage.name: stage for stage in STAGES},
        outputs=outputs,
    )
    return Run(
        config=config, folder=folder, outputs=outputs, store=store, lookup=lookup, events=events, record=record,
        console=console, artifacts={}, keys={},
    )  # fmt: skip


def _perform(run: Run, *, command: str) -> None:
    """Run all stages; whatever happens, the record says how it ended and tied servers are gone."""
    try:
        run.perform()
    except (Exception, KeyboardInterrupt) as err:
        run.record.status = "interrupted" if isinstance(err, KeyboardInterrupt) else "failed"
        run.record.error = _first_line(err)
        run.events.emit(Kind.run_failed, f"{run.record.status}; continue with: {command}")
        raise
    else:
        run.record.status = "done"
        run.record.values = summary.values(run.artifacts)
        run.events.emit(Kind.run_finished, f"finished in {time.time() - run.record.started_at:.1f} s")
    finally:
        run.stop_tied()
        run.console.close()
        summary.show(run.record, run.artifacts, folder=run.folder)


def sweep_table(folder: Path) -> bool:
    """Print one row per trial of a multirun and say whether all of them ended well."""
    return summary.sweep(folder)


__all__ = ["PhiRunnerError", "perform", "sweep_table"]
