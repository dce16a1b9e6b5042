"""Configs are checked here as on a machine with devices: which lines are right must not depend on where tests run."""

import pytest

from phi_runner.config import cuda


@pytest.fixture(autouse=True)
def eight_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NVIDIA's library count eight devices."""
    monkeypatch.setattr(cuda, "_found", lambda: 8)
