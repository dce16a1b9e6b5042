"""Blobs on disk: an SQLite index and a file per content; a killed server loses nothing that it has acknowledged."""

import base64
import hashlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS containers (name TEXT PRIMARY KEY, etag TEXT, modified REAL, metadata TEXT);
CREATE TABLE IF NOT EXISTS blobs (
    container TEXT, name TEXT, file TEXT, size INTEGER, etag TEXT, created REAL, modified REAL, headers TEXT,
    metadata TEXT, PRIMARY KEY (container, name));
CREATE TABLE IF NOT EXISTS blocks (
    container TEXT, name TEXT, block TEXT, file TEXT, size INTEGER, PRIMARY KEY (container, name, block));
"""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container and what its owner noted about it."""

    name: str
    etag: str
    modified: float
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob; its content is in `file`."""

    container: str
    name: str
    file: Path
    size: int
    etag: str
    created: float
    """Seconds since the epoch."""
    modified: float
    headers: dict[str, str]
    """Content headers such as Content-Type, by their wire names."""
    metadata: dict[str, str]


class BlobStore:
    """Containers and blobs; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        self._index = sqlite3.connect(folder / "index.db", check_same_thread=False, isolation_level=None)
        self._index.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        self._sweep()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def new_file(self) -> Path:
        """Return where an upload is to be written before it is put in place."""
        return self._data / uuid.uuid4().hex

    def containers(self) -> list[Container]:
        """Return all containers in the order of their names."""
        with self._lock:
            return [_container(row) for row in self._index.execute("SELECT * FROM containers ORDER BY name")]

    def container(self, name: str) -> Container | None:
        """Return a container, None when there is none of that name."""
        with self._lock:
            row = self._index.execute("SELECT * FROM containers WHERE name = ?", (name,)).fetchone()
        return _container(row) if row else None

    def make_container(self, name: str, *, metadata: dict[str, str]) -> bool:
        """Make a container; False when it is there."""
        row = (name, _etag(), time.time(), json.dumps(metadata))
        with self._lock:
            return self._index.execute("INSERT OR IGNORE INTO containers VALUES (?, ?, ?, ?)", row).rowcount == 1

    def remove_container(self, name: str) -> None:
        """Remove a container with its blobs."""
        query = "SELECT file FROM blobs WHERE container = ? UNION SELECT file FROM blocks WHERE container = ?"
        with self._lock:
            files = self._index.execute(query, (name, name)).fetchall()
            for table, column in (("containers", "name"), ("blobs", "container"), ("blocks", "container")):
                self._index.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608 - our own words
        for (file,) in files:
            (self._data / file).unlink(missing_ok=True)

    def blob(self, container: str, name: str) -> Blob | None:
        """Return a blob, None when there is none of that name."""
        with self._lock:
            row = self._index.execute("SELECT * FROM blobs WHERE container = ? AND name = ?", (container, name))
            found = row.fetchone()
        return self._blob(found) if found else None

    def blobs(self, container: str, *, prefix: str, after: str) -> Iterator[Blob]:
        """Yield the blobs at or after the name `after` that start with a prefix, in the order of their names."""
        start = max(prefix, after)
        query = "SELECT * FROM blobs WHERE container = ? AND name >= ? ORDER BY name"
        with self._lock:
            rows = self._index.execute(query, (container, start)).fetchall()
        for row in rows:
            if not row[1].startswith(prefix):
                return
            yield self._blob(row)

    def put(
        self, container: str, name: str, *, file: Path, headers: dict[str, str], metadata: dict[str, str]
    ) -> Blob:  # fmt: skip
        """Put an uploaded file in place as the blob's content."""
        with self._lock:
            before = self.blob(container, name)
            moment = time.time()
            row = (
                container, name, file.name, file.stat().st_size, _etag(), before.created if before else moment, moment,
                json.dumps(headers), json.dumps(metadata),
            )  # fmt: skip
            self._index.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._drop_blocks(container, name)
            if before:
                before.file.unlink(missing_ok=True)
            return self._blob(row)

    def change(
        self, blob: Blob, *, headers: dict[str, str] | None = None, metadata: dict[str, str] | None = None
    ) -> Blob:  # fmt: skip
        """Replace a blob's headers or its metadata."""
        row = (
            json.dumps(blob.headers if headers is None else headers),
            json.dumps(blob.metadata if metadata is None else metadata), _etag(), time.time(),
            blob.container, blob.name,
        )  # fmt: skip
        query = "UPDATE blobs SET headers = ?, metadata = ?, etag = ?, modified = ? WHERE container = ? AND name = ?"
        with self._lock:
            self._index.execute(query, row)
            return self.blob(blob.container, blob.name) or blob

    def remove(self, blob: Blob) -> None:
        """Remove a blob."""
        with self._lock:
            self._index.execute("DELETE FROM blobs WHERE container = ? AND name = ?", (blob.container, blob.name))
            self._drop_blocks(blob.container, blob.name)
            blob.file.unlink(missing_ok=True)

    def put_block(self, container: str, name: str, *, block: str, file: Path) -> None:
        """Keep a block until its list is committed."""
        row = (container, name, block, file.name, file.stat().st_size)
        with self._lock:
            self._index.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)", row)

    def blocks(self, container: str, name: str) -> list[tuple[str, int]]:
        """Return the ids and sizes in bytes of a blob's uncommitted blocks."""
        query = "SELECT block, size FROM blocks WHERE container = ? AND name = ? ORDER BY block"
        with self._lock:
            return self._index.execute(query, (container, name)).fetchall()

    def join(self, container: str, name: str, *, blocks: Sequence[str]) -> Path | None:
        """Return a new file made of uncommitted blocks, None when one of them is unknown."""
        query = "SELECT block, file FROM blocks WHERE container = ? AND name = ?"
        with self._lock:
            known = dict(self._index.execute(query, (container, name)).fetchall())
        if any(block not in known for block in blocks):
            return None
        target = self.new_file()
        with target.open("wb") as stream:
            for block in blocks:
                with (self._data / known[block]).open("rb") as piece:
                    while data := piece.read(_PIECE):
                        stream.write(data)
        return target

    def _drop_blocks(self, container: str, name: str) -> None:
        query = "SELECT file FROM blocks WHERE container = ? AND name = ?"
        rows = self._index.execute(query, (container, name)).fetchall()
        self._index.execute("DELETE FROM blocks WHERE container = ? AND name = ?", (container, name))
        for (file,) in rows:
            (self._data / file).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove files that no blob and no block has: uploads that were cut off."""
        used = {row[0] for row in self._index.execute("SELECT file FROM blobs UNION SELECT file FROM blocks")}
        for file in self._data.iterdir():
            if file.name not in used:
                file.unlink(missing_ok=True)

    def _blob(self, row: Sequence[object]) -> Blob:
        container, name, file, size, etag, created, modified, headers, metadata = row
        return Blob(
            container=str(container), name=str(name), file=self._data / str(file), size=int(str(size)), etag=str(etag),
            created=float(str(created)), modified=float(str(modified)), headers=json.loads(str(headers)),
            metadata=json.loads(str(metadata)),
        )  # fmt: skip


def _container(row: Sequence[object]) -> Container:
    name, etag, modified, metadata = row
    return Container(name=str(name), etag=str(etag), modified=float(str(modified)), metadata=json.loads(str(metadata)))


def _etag() -> str:
    return f'"0x{uuid.uuid4().hex[:15].upper()}"'


def http_date(moment: float) -> str:
    """Return a time in seconds since the epoch as HTTP writes it."""
    return formatdate(moment, usegmt=True)


def md5_of(file: Path) -> str:
    """Return the MD5 of a file in base64, as Content-MD5 has it."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(found.digest()).decode()
