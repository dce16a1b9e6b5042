"""The keys that open an endpoint: compared in constant time, read from their file again whenever that changes."""

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

_SETTLED_NS = 100_000_000
"""A file changed less than 0.1 s ago may change again within one tick of the file system's clock, and look the same."""
_Stamp: TypeAlias = tuple[int, int, int]
log = logging.getLogger("phi_runner.serve")


class Keys:
    """Keys any one of which opens the endpoint; a text that is none of them tells nothing by the time it takes."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = _digests(keys)

    def know(self, offered: bytes) -> bool:
        """Say whether this is a key: hashed first, so that not even its length shows, and compared with every one."""
        digest = hashlib.sha256(offered).digest()
        return any([hmac.compare_digest(digest, known) for known in self._digests])


class KeyFile(Keys):
    """The keys in a file, one a line, looked at again with every request.

    Once the file is replaced the old key is refused at once; a file that holds both, old and new, lets clients change
    over. A file that is gone, empty or cannot be read leaves the last good keys valid, and the log says so once.
    """

    def __init__(self, file: Path) -> None:
        """Read the file; raises OSError, or ValueError for one without a key."""
        self._file = file
        self._stamp: _Stamp | None = None
        self._complained = False
        self._read()

    def know(self, offered: bytes) -> bool:
        """Say whether this is one of the keys that the file holds now."""
        try:
            if _stamp(self._file) != self._stamp or self._complained:
                self._read()
                self._complained = False
        except (OSError, ValueError) as err:
            if not self._complained:
                log.error("the key file %s cannot be read, the keys it held stay valid: %s", self._file, err)
            self._complained = True
        return super().know(offered)

    def _read(self) -> None:
        stamp = _stamp(self._file)
        keys = [line.strip() for line in self._file.read_text(encoding="ascii").splitlines() if line.strip()]
        if not keys:
            raise ValueError(f"{self._file} is empty")
        fresh = _digests(keys)
        if self._stamp is not None and fresh != self._digests:
            log.info("the key file %s has changed: %d key(s) are valid now", self._file, len(keys))
        self._digests = fresh
        self._stamp = stamp if time.time_ns() - stamp[0] > _SETTLED_NS else (0, 0, 0)


def _digests(keys: Iterable[str]) -> list[bytes]:
    return [hashlib.sha256(key.encode()).digest() for key in keys]


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
