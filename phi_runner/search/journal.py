"""The file that a study lives in: lines that are only ever added, whole again after a kill."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def storage(place: str | Path) -> "BaseStorage":
    """Open a study's storage: a journal file, or whatever Optuna makes of an address such as `sqlite:///file`."""
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    if "://" in str(place):
        return get_storage(str(place))
    file = Path(place)
    file.parent.mkdir(parents=True, exist_ok=True)
    _mend(file)
    return JournalStorage(JournalFileBackend(str(file), lock_obj=cast("Any", _Lock(file))))


def _mend(file: Path) -> None:
    """Cut off a line that a killed process had begun; Optuna refuses a file with anything after such a line."""
    if not file.is_file():
        return
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(file, whole)


class _Lock:
    """A lock that goes with its process; Optuna's own is a file that a kill leaves behind."""

    def __init__(self, file: Path) -> None:
        from filelock import FileLock  # it brings asyncio, and most runs search for nothing

        self._lock = FileLock(f"{file}.lock")

    def acquire(self) -> bool:
        """Wait for the file."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()
