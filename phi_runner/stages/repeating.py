"""An earlier run again from nothing, stage by stage compared with what it left; imported when one is repeated."""

import shutil
import time
from pathlib import Path
from typing import Any

from phi_runner import environment, processes
from phi_runner.config import earlier_runs
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import ConfigProblem, MissingInput, NotReproduced
from phi_runner.report import reproduced
from phi_runner.report.run_folder import RunFolder, read, read_json, table, text
from phi_runner.stages.stage import RunDir
from phi_runner.store import write_json

_ROW = (StageName.infra, *earlier_runs.REPEATED, StageName.register, StageName.deploy, StageName.flow)
PARTS_FILE = "parts.json"
"""What decides each result as it is now, written before anything runs."""
_LOOK_EVERY_S = 0.5
_MOST = 8


def repeat(config: RunConfig, *, rundir: RunDir) -> None:
    """Repeat the run that `run` names; raises NotReproduced when anything that decides came out differently."""
    folder = earlier_runs.folder_of(config.run, outputs=config.outputs)
    if folder is None:
        raise MissingInput(f"there is no run {config.run!r} any more: name another with run=RUN_FOLDER")
    before = read(folder)
    stages, left = _stages(config, before)
    if left:
        asked = ",".join([*stages, *left[:1]])
        rundir.events.info(f"not repeated: {', '.join(left)} (reproduce.stages=[{asked}] repeats more)")
    again = rundir.folder / "again"
    changed = _repeat(before, again=again, stages=stages, rundir=rundir)
    after = read(again / "run")
    compared = [stage for stage in stages if stage != StageName.infra]
    found = reproduced.verdicts(before, after, stages=compared, parts=table(read_json(again / PARTS_FILE)))
    write_json(
        rundir.folder / reproduced.REPRODUCED_FILE,
        reproduced.as_json(found, of=folder, changed=changed, left=left),
    )  # fmt: skip
    _conclude(found, before=before, again=again, keep=config.reproduce.keep, rundir=rundir)


def _conclude(
    found: list[reproduced.StageVerdict], *, before: RunFolder, again: Path, keep: bool, rundir: RunDir
) -> None:
    for one in found:
        same = f"same, {one.files} files compared" if one.same else f"differs: {'; '.join(one.what)}"
        rundir.events.info(f"{one.stage}: {same}")
    verdict = reproduced.told(found)
    if verdict != reproduced.SAME:
        raise NotReproduced(f"{before.name} {verdict}; the second run is in {again / 'run'}, compare the two with: "
                            f"python -m phi_runner +recipe=compare runs=[{before.folder},{again / 'run'}]")  # fmt: skip
    if keep:
        rundir.events.info(f"{before.name}: same; the second run's results are in {again}")
        return
    shutil.rmtree(again, ignore_errors=True)
    rundir.events.info(f"{before.name}: same; the second run's results are removed (reproduce.keep=true keeps them)")


def _stages(config: RunConfig, before: RunFolder) -> tuple[list[StageName], list[StageName]]:
    """Return the stages to repeat and those that are left; raises MissingInput or ConfigProblem."""
    kept = table(before.versions.get("stages"))
    command = text(before.record, "command") or "python -m phi_runner ..."
    if not before.versions or not before.config:
        raise MissingInput(f"{before.name} does not say with what it was made ({'; '.join(before.problems)}), "
                           f"so it cannot be repeated: make it again with: {command}")  # fmt: skip
    made = [stage for stage in _ROW if stage in kept]
    wanted = [*(config.reproduce.stages or earlier_runs.REPEATED)]
    missing = [stage for stage in config.reproduce.stages if stage not in made]
    if missing or not any(stage in made for stage in wanted):
        told = ", ".join(missing or wanted)
        raise MissingInput(f"{before.name} has no result of {told} to compare with: finish it first with: {command}")
    last = max(made.index(stage) for stage in wanted if stage in made)
    stages = made[: last + 1]
    if StageName.infra in stages and _bills(before) and StageName.infra not in config.reproduce.stages:
        raise ConfigProblem(
            f"{before.name} used Azure, which bills: type reproduce.stages=[{','.join(stages)}] to repeat it there"
        )
    return stages, made[last + 1 :]


def _bills(before: RunFolder) -> bool:
    return text(table(before.versions.get("kinds")), "azure") != "rehearsal"


def _values(before: RunFolder, *, stages: list[StageName], outputs: Path) -> dict[str, Any]:
    """Return the settings of the run that is repeated, less what belongs to that call of it alone."""
    passing = ("outputs", "stages", "force", "plan", "limits", "run", "runs", "sweep", "reproduce")
    values = {name: value for name, value in before.config.items() if name not in passing}
    train, chosen = table(values.get("train")), table(table(before.of_stage("train", "measured.json")).get("settings"))
    if train and not train.get("micro_batch") and isinstance(chosen.get("micro_batch"), int):
        values["train"] = train | {"micro_batch": chosen["micro_batch"]}  # a long run finds it by the clock
    tracked_apart = table(before.config.get("tracking")) | {"uri": ""}
    return values | {"stages": [str(stage) for stage in stages], "outputs": str(outputs), "tracking": tracked_apart}


def _repeat(before: RunFolder, *, again: Path, stages: list[StageName], rundir: RunDir) -> list[str]:
    """Run the stages in a process and a store of their own; return what is other than it was."""
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir(parents=True)
    order: dict[str, Any] = {
        "values": _values(before, stages=stages, outputs=again), "kinds": table(before.versions.get("kinds")),
        "folder": str(again / "run"), "parts_file": str(again / PARTS_FILE),
        "overrides": before.record.get("overrides") or [], "recipe": text(before.record, "recipe"),
        "where": text(before.versions, "folder"), "unset": environment.set_here(),
    }  # fmt: skip
    file, log = again / "order.json", again / "again.log"
    write_json(file, order)
    child = processes.start("phi_runner.again", [str(file)], log=log, detach=False)
    told: dict[str, str] = {}
    changed: list[str] | None = None
    try:
        while child.poll() is None:
            time.sleep(_LOOK_EVERY_S)
            changed = _changed(before, again=again, stages=stages, rundir=rundir) if changed is None else changed
            _follow(again / "run", told=told, rundir=rundir)
    finally:
        processes.stop(child.pid)
    _follow(again / "run", told=told, rundir=rundir)
    if not (again / "run" / earlier_runs.RECORD).is_file():
        raise NotReproduced(f"{before.name} cannot be repeated: {_last_line(log)}")
    return changed or []


def _changed(before: RunFolder, *, again: Path, stages: list[StageName], rundir: RunDir) -> list[str] | None:
    """Say once, before anything is computed, what has changed since; None while it is not known yet."""
    now = read_json(again / PARTS_FILE)
    after = read(again / "run")
    if now is None or not after.versions:
        return None
    kept, found = table(before.versions.get("stages")), dict[str, None]()
    for stage in stages:
        parts = table(table(now).get(stage))
        found |= dict.fromkeys(
            reproduced.parts_changed(table(table(kept.get(stage)).get("parts")), parts) if parts else []
        )
    found |= dict.fromkeys(reproduced.surroundings_changed(before, after))
    for line in list(found)[:_MOST]:
        rundir.events.warn(f"other than then: {line}")
    if len(found) > _MOST:
        rundir.events.warn(f"other than then: {len(found) - _MOST} more, see {reproduced.REPRODUCED_FILE}")
    return list(found)


def _follow(folder: Path, *, told: dict[str, str], rundir: RunDir) -> None:
    """Pass on how far the second run is."""
    for stage in read(folder).stages:
        if stage.status not in ("waiting", "skipped") and told.get(stage.name) != stage.status:
            told[stage.name] = stage.status
            said = f": {stage.summary}" if stage.summary else f": {stage.why}" if stage.status == "failed" else ""
            rundir.events.info(f"again: {stage.name} {stage.status}{said}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    said = [line for line in lines if line.strip()]
    return f"{said[-1].removeprefix('phi_runner: ')} (see {log})" if said else f"it said nothing, see {log}"
