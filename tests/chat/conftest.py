"""Fixtures of the chat's tests: an endpoint that answers word by word."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow import standin
from tests.flow.standin import StandIn


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in endpoint."""
    with standin.running(tmp_path) as running:
        yield running
