"""How a run ends for the person at the terminal: one line on stderr and an exit code, a traceback only on request."""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import FrameType
from typing import TextIO

from phi_runner.errors import PhiRunnerError, Stopped

INTERRUPTED = 130
"""What shells report for a process ended by Ctrl-C."""
_FULL_ERROR = "HYDRA_FULL_ERROR"
_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"
"""Asked for by the user; read once, because `raising` sets the variable for Hydra."""


class Told(Exception):
    """A failure that the person has read about already."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def say(message: str, *, failed: bool = True) -> None:
    """Write one line for the person, to stderr where something failed; line breaks of libraries become spaces."""
    stream = sys.stderr if failed else sys.stdout
    stream.write(f"phi_runner: {' '.join(message.split())}\n")
    stream.flush()


def failure(err: Exception) -> str:
    """Return what an exception says to the person; one of nobody's making names its class."""
    return str(err) if isinstance(err, PhiRunnerError) else f"{type(err).__name__}: {err}".rstrip(": ")


def say_failure(err: Exception, *, before: str = "", after: str = "") -> None:
    """Write what went wrong, with the traceback if the user has set HYDRA_FULL_ERROR=1."""
    if _TRACEBACKS:
        traceback.print_exception(err)
    say(f"{before}{failure(err)}{after}")


@contextmanager
def told() -> Iterator[None]:
    """End the process in the way its user should see."""
    try:
        yield
    except Told as err:
        raise SystemExit(err.exit_code) from None
    except PhiRunnerError as err:
        say_failure(err)
        raise SystemExit(err.exit_code) from None
    except Stopped as err:
        say(str(err))
        raise SystemExit(err.exit_code) from None
    except KeyboardInterrupt:
        say("interrupted: type the same command to continue")
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def stoppable() -> Iterator[None]:
    """End on SIGTERM and SIGHUP as on Ctrl-C: schedulers and closed terminals leave a true record and no process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def raising() -> Iterator[None]:
    """Make Hydra raise what goes wrong instead of printing it and leaving."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


class _WithoutHydrasLine(io.TextIOBase):
    """A stream without the line that Hydra writes for the first failed job: we have said it, for every one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith("Error executing job with overrides") else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def without_hydras_line() -> Iterator[None]:
    """Keep Hydra from repeating on stderr what has been said."""
    with redirect_stderr(_WithoutHydrasLine(sys.stderr)):
        yield
