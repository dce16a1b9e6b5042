"""A disk that is full while a checkpoint is written: known by its many errors, told with what is needed."""

import errno
import shutil
from pathlib import Path

from phi_runner.errors import TrainFailed

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = (
    "No space left on device", "Disk quota exceeded", "os error 28", "PytorchStreamWriter", "inline_container",
    "iostream error",
)  # fmt: skip
"""torch raises RuntimeError and safetensors an error of its own, both without the system's number."""


def is_full(err: BaseException) -> bool:
    """Say whether an error of the system, torch or safetensors means that there was no room for a file."""
    return getattr(err, "errno", None) in _FULL or any(word in str(err) for word in _WORDS)


def failure(folder: Path, *, step: int, needed: int, last: int) -> TrainFailed:
    """Return the one line for it; `last` is the step of the last good checkpoint, -1 when there is none."""
    goes_on = f"goes on from step {last}" if last >= 0 else "begins again"
    return TrainFailed(
        f"the disk is full: the checkpoint of step {step} needs {_told(needed)} and {folder} has "
        f"{_told(shutil.disk_usage(folder).free)} left: free some space or choose another place with outputs=FOLDER; "
        f"the same command {goes_on}"
    )


def warning(folder: Path, *, needed: int, kept: int) -> str:
    """Say so when the disk will not hold the checkpoints: `kept` of them and the one that is being written."""
    free = shutil.disk_usage(folder).free
    if free >= needed * (kept + 1):
        return ""
    return (
        f"{folder} has {_told(free)} left, and {kept} checkpoints and one that is being written need "
        f"{_told(needed * (kept + 1))}: free some space or choose another place with outputs=FOLDER"
    )


def _told(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
