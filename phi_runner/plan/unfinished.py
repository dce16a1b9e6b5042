"""What an interrupted run has left of a result, and from where the next one goes on."""

from pathlib import Path

from phi_runner.config.schema import RunConfig, StageName
from phi_runner.stages.stage import Stage
from phi_runner.store import Store

_SEAL = "manifest.json"
_FORCED = "forced"


def continued(config: RunConfig, store: Store, stage: Stage, key: str) -> str:
    """Say that a stage goes on with what an interrupted run has left, and from which step; nothing: it begins anew."""
    scratch = store.scratch_folder(stage.name, key)
    if stage.name in config.force and not (scratch / _FORCED).exists():
        return ""  # a forced stage clears away what it finds
    step = last_step(scratch)
    if step:
        return f"continues from checkpoint at step {step}"
    if stage.name is StageName.train and config.train.resume_from:
        return f"begins from {config.train.resume_from}"
    return "an interrupted run left it unfinished" if stage.pure and store.has_work(stage.name, key) else ""


def last_step(scratch: Path) -> int:
    """Return the step of the newest whole checkpoint below a folder; 0: there is none."""
    steps = (folder.name.rpartition("-")[2] for folder in scratch.glob("**/checkpoint-*") if (folder / _SEAL).is_file())
    return max((int(step) for step in steps if step.isdigit()), default=0)
