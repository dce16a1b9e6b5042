"""Signals during a training: the first is noted, a second Ctrl-C after a while ends it as it would have."""

import os
import signal
import threading

import pytest

from phi_runner.errors import Stopped
from phi_runner.model.training import interrupt


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopped = _stopped_by(number)
    assert isinstance(stopped, Stopped)
    assert stopped.exit_code == 128 + number
    assert "after step 12, which is saved" in str(stopped)
    assert signal.getsignal(number) is before


def _stopped_by(*numbers: signal.Signals) -> KeyboardInterrupt:
    """Return what comes of signals in the middle of step 12."""
    try:
        with interrupt.asked_for() as request:
            assert not request.asked
            for number in numbers:
                _send(number)
                assert request.asked
            raise request.stopped(step=12)
    except KeyboardInterrupt as err:
        return err


def test_one_that_comes_after_the_last_step_is_not_lost() -> None:
    with pytest.raises(Stopped) as stopped, interrupt.asked_for():
        _send(signal.SIGTERM)
    assert stopped.value.number == signal.SIGTERM


def test_ctrl_c_twice_at_once_is_one_and_later_is_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_SAME_S", 0.0)
    twice = (signal.SIGINT, signal.SIGINT)
    assert not isinstance(_stopped_by(*twice), Stopped)  # what Python itself raises
    monkeypatch.undo()
    # as a worker gets one from the terminal and from its parent
    assert isinstance(_stopped_by(*twice, signal.SIGTERM), Stopped)


def test_outside_the_main_thread_nothing_is_caught() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with interrupt.asked_for() as request:
            found.append((signal.getsignal(signal.SIGTERM), request.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, False)]
