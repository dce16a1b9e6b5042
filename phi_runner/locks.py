"""A file lock that one process holds while others wait and are told so once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(file: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold `file` during a block; `on_wait` is called once when another process has it. Raises OSError."""
    from filelock import FileLock, Timeout  # it brings asyncio, and a plan takes no lock

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
