"""The row of selected stages: reuse what is stored and still true, make the rest, tell every step."""

import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from phi_runner import artifacts, keys, processes, summary
from phi_runner.artifacts import Artifact
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.console import Console
from phi_runner.errors import Pruned
from phi_runner.events import Events, Kind, StageEvents
from phi_runner.lookup import Lookup
from phi_runner.record import RunRecord
from phi_runner.stages import row
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.store import Parts, Store, key_of


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
        chosen = [stage for stage in row(self.config) if stage.name in self.config.stages]
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
                key = key_of(keys.parts(stage, self.config, inputs)) if stage.config_parts else ""
                stage.run(self.config, inputs, self._run_dir(stage, folder=self.folder, key=key))
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
            if stage.inspect:
                where = self._run_dir(stage, folder=self.folder, key=key)
                stage.inspect(self.config, self.artifacts[stage.name], where)
        except Pruned as err:
            self._tell(Kind.stage_pruned, stage, f"pruned: {first_line(err)}", why=first_line(err))
            raise
        except (Exception, KeyboardInterrupt) as err:
            self._tell(Kind.stage_failed, stage, f"failed: {first_line(err)}", why=first_line(err))
            if isinstance(err, KeyboardInterrupt):
                self.record.stage(stage.name).status = "interrupted"
            raise

    def _inputs(self, stage: Stage) -> Inputs:
        # The last of them first: what it was made from decides which results of earlier stages belong to it.
        wanted = {*stage.reads(self.config), *stage.uses(self.config)}
        for name in sorted(wanted, key=list(StageName).index, reverse=True):
            if name not in self.artifacts:
                found = self.lookup.find(name, reader=stage.name, known=self.keys)
                self.artifacts[name] = found.artifact
                self.keys |= found.ancestors | {name: found.key}
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
            artifact = artifacts.read(stage.produces, folder=folder)
            why = (
                stage.still_true(self.config, artifact, self.outputs)
                if artifact
                else "it was stored by another version"
            )
            if artifact and not why:
                self._leave(stage, artifact)
                self._tell(
                    Kind.stage_reused, stage, f"reused {key[:12]}: nothing it depends on has changed", why="unchanged"
                )
                return artifact
        return self._make(stage, inputs, parts, key=key, why=why)

    def _why_run(self, stage: Stage, parts: Parts, key: str) -> str:
        """Say why a stored result cannot simply be taken, or nothing."""
        if stage.name in self.config.force:
            self._begin_anew(stage, key)
            return f"force=[{stage.name}]"
        self.store.adopt(stage.name, key)
        manifest, damage = self.store.look(stage.name, key)
        if manifest:
            return ""
        if damage:
            self.store.set_aside(stage.name, key)
            return f"the stored result is damaged ({damage})"
        if any(self.store.work_folder(stage.name, key).iterdir()) and stage.pure:
            return "an interrupted run left it unfinished"
        stored = [manifest.parts for manifest in self.store.manifests(stage.name)]
        return keys.difference(stored, parts) if stored else "no result yet"

    def _begin_anew(self, stage: Stage, key: str) -> None:
        """Clear what is unfinished, unless an interrupted forced run left it; the old result stays until then."""
        marker = self.store.scratch_folder(stage.name, key) / "forced"
        if not marker.exists():
            self.store.forget_work(stage.name, key)
            marker.parent.mkdir(parents=True)
            marker.touch()

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
        made = artifacts.load(stage.produces, folder=self.store.folder(stage.name, key))
        self._leave(stage, made)
        self._finish(stage, seconds, why=why)
        return made

    def _leave(self, stage: Stage, artifact: Artifact) -> None:
        """Record the result and leave a link to it in the run folder."""
        folder = artifact.folder
        record = self.record.stage(stage.name)
        record.result, record.summary = str(folder), summary.line(artifact)
        link = self.folder / "results" / stage.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # a run folder that the user fixed is used again
        link.symlink_to(os.path.relpath(folder, link.parent))

    def _finish(self, stage: Stage, seconds: float, *, why: str) -> None:
        record = self.record.stage(stage.name)
        record.seconds = round(seconds, 3)
        self._tell(Kind.stage_finished, stage, f"done in {seconds:.1f} s", why=why, seconds=seconds)

    def _tell(self, kind: Kind, stage: Stage, message: str, *, why: str = "", **values: float) -> None:
        record = self.record.stage(stage.name)
        status = {
            Kind.stage_skipped: "skipped", Kind.stage_reused: "reused", Kind.stage_started: "running",
            Kind.stage_finished: "done", Kind.stage_failed: "failed", Kind.stage_pruned: "pruned",
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


def first_line(err: BaseException) -> str:
    """Return what an error says, in one line."""
    text = "interrupted" if isinstance(err, KeyboardInterrupt) else str(err) or type(err).__name__
    return text.splitlines()[0]
