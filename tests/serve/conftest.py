"""The tiny model behind a real server, shared by the tests of the routes."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.rig import serving


@pytest.fixture(scope="package")
def endpoint(tiny_model: Path) -> Iterator[httpx.Client]:
    """A client of an endpoint that serves the tiny model."""
    from phi_runner.model.engines.batched import TransformersEngine

    with serving(TransformersEngine(tiny_model, pause_s=0.0), max_new_tokens=8) as client:
        yield client
