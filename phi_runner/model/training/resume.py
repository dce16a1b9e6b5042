"""Where a training goes on from: its own newest checkpoint or the one that was named, if both belong to it."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phi_runner.config import resuming
from phi_runner.config.resuming import Settings
from phi_runner.config.schema import RunConfig
from phi_runner.errors import TrainFailed
from phi_runner.model.training import checkpoints, together

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")


def settings(config: RunConfig, *, data_hash: str, rows: int) -> Settings:
    """Return what decides this training: config, data, number of rows after tokenising, and library versions."""
    decisive = resuming.decisive(config) | {"data": data_hash, "rows": str(rows)}
    return Settings(decisive=decisive, libraries={name: _version(name) for name in _LIBRARIES})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def start(folder: Path, *, named: str, now: Settings, warn: Callable[[str], None]) -> Path | None:
    """Return the checkpoint to go on from, the same one in every process; None: training begins anew.

    Raises TrainFailed when it is damaged or was left by other settings, and says what changed.
    """
    return together.decided(lambda: _chosen(folder, named=named, now=now, warn=warn))


def _chosen(folder: Path, *, named: str, now: Settings, warn: Callable[[str], None]) -> Path | None:
    own = checkpoints.newest(folder, warn=warn) if folder.is_dir() else None
    given = Path(named).expanduser().resolve() if named else None
    if given and (own is None or checkpoints.step_of(own) < checkpoints.step_of(given)):
        if found := checkpoints.damage(given):
            raise TrainFailed(f"train.resume_from={given} is damaged: {found}; name the checkpoint before it")
        own = given
    if own:
        _check(own, now=now, warn=warn)
    return own


def _check(checkpoint: Path, *, now: Settings, warn: Callable[[str], None]) -> None:
    before = Settings.read(checkpoint)
    if before is None:
        raise TrainFailed(f"{checkpoint} does not say what it was trained with: begin anew with force=[train]")
    if told := resuming.changes(before.decisive, now.decisive):
        raise TrainFailed(
            f"{checkpoint} was left by other settings: {told}; type them as they were, or begin anew with force=[train]"
        )
    if told := resuming.changes(before.libraries, now.libraries):
        warn(f"{checkpoint.name} was written with other libraries: {told}; numbers may differ by rounding")
