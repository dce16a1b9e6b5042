"""Stop a training between two steps: the first signal asks for it, a second Ctrl-C ends it at once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from phi_runner.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_S = 1.0
"""A Ctrl-C reaches a worker twice, from the terminal and from the process that started it; a person takes longer."""
_SEEN = b"\nphi_runner: saves and stops at the end of this step; Ctrl-C again stops at once\n"


class StopRequest:
    """Whether somebody has asked to stop, and by which signal."""

    def __init__(self) -> None:
        self._number = 0
        self._asked_at = 0.0

    @property
    def asked(self) -> bool:
        """Say whether training is to end after this step."""
        return self._number != 0

    @property
    def number(self) -> int:
        """Return the signal; SIGTERM in a process that only heard of it from the others."""
        return self._number or signal.SIGTERM

    def ask(self, number: int) -> None:
        """Ask to stop; the first signal counts."""
        self._number, self._asked_at = self._number or number, self._asked_at or time.monotonic()

    def again(self) -> bool:
        """Say whether a person has had the time to ask a second time."""
        return self.asked and time.monotonic() - self._asked_at > _SAME_S

    def stopped(self, *, step: int) -> Stopped:
        """Return what to raise once the step is saved; of several processes, those that got no signal end alike."""
        told = f"stopped after step {step}, which is saved: type the same command to go on from there"
        return Stopped(self.number, told)


@contextmanager
def asked_for() -> Iterator[StopRequest]:
    """Take note of Ctrl-C, SIGTERM and SIGHUP during a block instead of ending there and then.

    A second Ctrl-C does what the first would have done without the block. Whoever sends SIGTERM and cannot wait for
    the end of a step sends SIGKILL: the last checkpoint is whole then too.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {}

    def take(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.again():
            earlier = before[number]
            if callable(earlier):
                earlier(number, frame)
            raise Stopped(number)
        if number == signal.SIGINT and not request.asked:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _SEEN)  # the only way that is safe in a handler
        request.ask(number)

    for caught in _SIGNALS:
        if signal.getsignal(caught) is not signal.SIG_IGN:  # nohup keeps its promise
            before[caught] = signal.signal(caught, take)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.asked:  # it came when the last step was over
        raise Stopped(request.number)
