"""Folders of results that can always be made again: by what they are made from, whole or absent, checked when read."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from phi_runner import locks
from phi_runner.errors import StoreProblem
from phi_runner.store import Parts, file_hash, key_of, write_json

_FACTS = "facts.json"
_KEPT = 24
"""Results kept in one folder; of more, those not used for longest are removed."""

Facts: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """A finished result: its folder, and what its maker noted about it."""

    folder: Path
    facts: Mapping[str, Any]
    hit: bool
    """Whether it was there already."""


class Cache:
    """Results under one folder, shared by processes: one makes a result while the others wait for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, parts: Parts, *, make: Callable[[Path], Facts], on_wait: Callable[[], None] = lambda: None) -> Cached:
        """Return what was made from `parts`, made now where it is missing or damaged.

        `make` fills an empty folder and returns facts for JSON. Raises StoreProblem when nothing can be written.
        """
        final = self.folder / key_of(parts)[:32]
        try:
            with locks.held(self.folder / f".{final.name}.lock", on_wait=on_wait):
                facts = _intact(final)
                if facts is not None:
                    os.utime(final)
                    return Cached(folder=final, facts=facts, hit=True)
                facts = self._made(final, make=make)
        except OSError as err:
            raise StoreProblem(
                f"cannot write {err.filename or self.folder}: {err.strerror or err}; "
                "make room there, or choose another place with outputs=FOLDER"
            ) from err
        self._forget_old()
        return Cached(folder=final, facts=facts, hit=False)

    def _made(self, final: Path, *, make: Callable[[Path], Facts]) -> Facts:
        """Make a result aside and rename it into place; its facts are written last."""
        work = final.with_name(f".{final.name}.partial")
        for old in (work, final):
            shutil.rmtree(old, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            facts = make(work)
            files = {file.name: _measured(file) for file in sorted(work.iterdir())}
            write_json(work / _FACTS, {"facts": facts, "files": files})
            work.rename(final)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)  # what fills the disk is of no use to anyone
            raise
        return facts

    def _forget_old(self) -> None:
        found = []
        for folder in self.folder.glob("[!.]*"):
            with suppress(OSError):  # another process may be removing it
                found.append((folder.stat().st_mtime_ns, folder))
        for _used, folder in sorted(found, reverse=True)[_KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)  # whoever has it open keeps it


def _measured(file: Path) -> list[Any]:
    facts = file.stat()
    return [facts.st_size, facts.st_mtime_ns, file_hash(file)]


def _intact(folder: Path) -> Facts | None:
    """Return a result's facts; None where there is none, or a file of it is not as it was written."""
    try:
        noted = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        for name, (size, mtime_ns, digest) in noted["files"].items():
            seen = (folder / name).stat()
            if seen.st_size != size or (seen.st_mtime_ns != mtime_ns and file_hash(folder / name) != digest):
                return None
        facts: Facts = noted["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts
