"""What was found of some rows, kept by what it was found from: one JSON file each, whole or absent."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phi_runner import locks
from phi_runner.errors import StoreProblem
from phi_runner.store import Parts, file_hash, key_of, write_json

_KEPT = 64
_PACKAGE = Path(__file__).parents[1]


def remembered(
    folder: Path, parts: Parts, *, make: Callable[[], dict[str, Any]], on_wait: Callable[[], None]
) -> dict[str, Any]:
    """Return what was made from `parts`, made now where it is missing or unreadable; others wait meanwhile.

    Raises StoreProblem when nothing can be written there.
    """
    file = folder / f"{key_of(parts)[:32]}.json"
    try:
        found = _read(file)
        if found is None:
            with locks.held(folder / f".{file.name}.lock", on_wait=on_wait):
                found = _read(file)
                if found is None:
                    found = make()
                    write_json(file, found)
                    _forget_old(folder)
    except OSError as err:
        raise StoreProblem(
            f"cannot write {err.filename or folder}: {err.strerror or err}; "
            "make room there, or choose another place with outputs=FOLDER"
        ) from err
    return found


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        os.utime(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _forget_old(folder: Path) -> None:
    aged = []
    for file in folder.glob("[!.]*.json"):
        with suppress(OSError):  # another process may be removing it
            aged.append((file.stat().st_mtime_ns, file))
    for _used, file in sorted(aged, reverse=True)[_KEPT:]:
        with suppress(OSError):
            file.unlink()
            (folder / f".{file.name}.lock").unlink()


def made_by(*sources: str, libraries: tuple[str, ...]) -> Parts:
    """Return what else decides a result: files and folders of the package, and versions of libraries."""
    files = [path for source in sources for path in _files(_PACKAGE / source)]
    code = hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()
    return {"code": code, "libraries": " ".join(f"{name} {version(name)}" for name in libraries)}


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.suffix in (".py", ".jinja")) if path.is_dir() else [path]
