"""A process that is given one text and gives one back; it and all that it starts end with ours, however that ends."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from phi_runner.tether import WATCHED_FD


class Child:
    """One process in a session of its own, whose standard error is in a log; it calls `tether.stop_with_parent`."""

    def __init__(
        self, command: Sequence[str], *, log: Path, folder: Path | None = None, environment: Mapping[str, str]
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        watched, self._held = os.pipe()  # its other end stays open for as long as we live
        try:
            with log.open("ab") as errors:
                self._said_before = errors.tell()
                self._process = subprocess.Popen(  # noqa: S603 - our own choice of interpreter and script
                    [*command], cwd=folder, env={**os.environ, **environment, WATCHED_FD: str(watched)},
                    pass_fds=(watched,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                    encoding="utf-8", start_new_session=True,
                )  # fmt: skip
        except OSError:
            os.close(self._held)
            raise
        finally:
            os.close(watched)

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, or None while it runs."""
        return self._process.poll()

    def exchange(self, text: str, *, timeout_s: float) -> str:
        """Give it a text, wait for it to end and return what it wrote; raises subprocess.TimeoutExpired."""
        try:
            said, _ = self._process.communicate(text, timeout=timeout_s)
        finally:
            self.end()
        return said

    def last_words(self) -> str:
        """Return the last line that it wrote to its log."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            lines = log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """Kill it with everything that it has started; no-op once it was ended."""
        if self._held < 0:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:
            pass
        os.close(self._held)
        self._held = -1
