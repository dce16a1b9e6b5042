"""Fixtures that several packages of tests share."""

import os
import signal
from pathlib import Path

import pytest

from tests import tiny

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it is imported at collection, and some tests watch the network


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small random Phi-3 folder; read it, do not write into it."""
    return tiny.make_model_folder(tmp_path_factory.mktemp("tiny") / "model")


def pytest_configure() -> None:
    """Let Ctrl-C be Ctrl-C for the tests of it: a shell without job control starts what it puts aside without."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
