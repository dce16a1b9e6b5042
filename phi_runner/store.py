"""Content-addressed results: `store/<stage>/<key>/`, published whole or not at all, checked before they are reused.

A result grows in `.<key>.partial` (kept after an interruption, so that work goes on there), gets its manifest last and
is renamed into place. A file lock per key lets one process work while others wait and then take the result.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phi_runner import locks
from phi_runner.errors import StoreProblem

MANIFEST_FILE = "manifest.json"
Parts = dict[str, str]


def key_of(parts: Parts) -> str:
    """Return the sha256 of the parts, whatever their order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_hash(file: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a result; size and mtime tell at a glance whether its bytes need hashing again."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a result is made of; its presence means that the result is complete."""

    stage: str
    key: str
    parts: Parts
    inputs: dict[str, str]
    seconds: float
    made_at: float
    files: list[StoredFile] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a result's manifest; raises OSError, ValueError or TypeError when it is not one."""
        values = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        return cls(**{**values, "files": [StoredFile(**item) for item in values["files"]]})


def _damage(folder: Path, manifest: Manifest) -> str:
    """Say what is wrong with a published result, or nothing."""
    for item in manifest.files:
        file = folder / item.path
        try:
            facts = file.stat()
        except OSError:
            return f"{item.path} is missing"
        if facts.st_size != item.size:
            return f"{item.path} has {facts.st_size} bytes instead of {item.size}"
        if facts.st_mtime_ns != item.mtime_ns and file_hash(file) != item.sha256:
            return f"{item.path} was changed"
    return ""


class Store:
    """The results under one folder, shared by runs, sweep trials and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, key: str) -> Path:
        """Return where the finished result of a key lies or will lie."""
        return self.root / stage / key

    def work_folder(self, stage: str, key: str) -> Path:
        """Return the folder in which a key's result grows; what an interrupted run left is still in it."""
        folder = self.root / stage / f".{key}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreProblem(
                f"cannot write {folder}: {err.strerror}; choose another place with outputs=FOLDER"
            ) from err
        return folder

    def scratch_folder(self, stage: str, key: str) -> Path:
        """Return where a stage keeps what only an interrupted run needs again; removed once the result is in place."""
        return self.root / stage / f".{key}.scratch"

    def adopt(self, stage: str, key: str) -> bool:
        """Put a result into place that a killed run had finished but not yet renamed; say whether there was one."""
        if self.finished_work(stage, key) is None:
            return False
        (self.root / stage / f".{key}.partial").rename(self.folder(stage, key))
        return True

    def finished_work(self, stage: str, key: str) -> Path | None:
        """Return the folder of a result that a killed run had finished but not yet renamed; changes nothing."""
        work = self.root / stage / f".{key}.partial"
        try:
            manifest = Manifest.read(work)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return None if _damage(work, manifest) or self.folder(stage, key).exists() else work

    def has_work(self, stage: str, key: str) -> bool:
        """Say whether an interrupted run has left something of a key; makes no folder."""
        work = self.root / stage / f".{key}.partial"
        return work.is_dir() and any(work.iterdir())

    def forget_work(self, stage: str, key: str) -> None:
        """Remove everything unfinished of a key."""
        for folder in (self.root / stage / f".{key}.partial", self.scratch_folder(stage, key)):
            shutil.rmtree(folder, ignore_errors=True)

    def look(self, stage: str, key: str) -> tuple[Manifest | None, str]:
        """Return the intact result of a key, or None and what is wrong with what lies there (nothing when new)."""
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return None, ""
        try:
            manifest = Manifest.read(folder)
        except (OSError, ValueError, TypeError, KeyError):
            return None, "its manifest is missing or unreadable"
        damage = _damage(folder, manifest)
        return (None, damage) if damage else (manifest, "")

    def manifests(self, stage: str) -> list[Manifest]:
        """Return the manifests of a stage's finished results, newest first."""
        found = []
        for file in (self.root / stage).glob(f"*/{MANIFEST_FILE}"):
            if not file.parent.name.startswith("."):
                try:
                    found.append(Manifest.read(file.parent))
                except (OSError, ValueError, TypeError, KeyError):
                    continue
        return sorted(found, key=lambda manifest: manifest.made_at, reverse=True)

    @contextmanager
    def lock(self, stage: str, key: str, *, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the key's lock during a block; `on_wait` is called once when another process has it."""
        file = self.root / stage / f".{key}.lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.held(file, on_wait=on_wait))
            except OSError as err:  # of taking the lock, not of what is done while it is held
                raise StoreProblem(
                    f"cannot write {file.parent}: {err.strerror}; choose another place with outputs=FOLDER"
                ) from err
            yield

    def publish(self, stage: str, key: str, *, parts: Parts, inputs: dict[str, str], seconds: float) -> Manifest:
        """Write the manifest of the work folder and rename the folder into place, replacing what lay there."""
        work, final = self.work_folder(stage, key), self.folder(stage, key)
        files = [_stored(file, base=work) for file in sorted(work.rglob("*")) if file.is_file()]
        manifest = Manifest(
            stage=stage, key=key, parts=parts, inputs=inputs, seconds=round(seconds, 3), made_at=time.time(),
            files=[item for item in files if item.path != MANIFEST_FILE],
        )  # fmt: skip
        write_json(work / MANIFEST_FILE, asdict(manifest))
        if final.exists():
            self.set_aside(stage, key)
        work.rename(final)
        self.forget_work(stage, key)
        return manifest

    def set_aside(self, stage: str, key: str) -> None:
        """Remove a published result so that it can be made again; a crash half way leaves no half result in place."""
        self.folder(stage, key).rename(self.root / stage / f".{key}.{uuid.uuid4().hex}.old")
        for doomed in (self.root / stage).glob(f".{key}.*.old"):  # an earlier crash may have left one
            shutil.rmtree(doomed, ignore_errors=True)


def _stored(file: Path, *, base: Path) -> StoredFile:
    facts = file.stat()
    return StoredFile(
        path=file.relative_to(base).as_posix(), size=facts.st_size, mtime_ns=facts.st_mtime_ns, sha256=file_hash(file)
    )


def write_json(file: Path, value: object) -> None:
    """Write a JSON file so that a reader, or a crash, sees the old one or the new one and nothing between."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with aside.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
