"""Fixtures that several packages of tests share."""

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small random Phi-3 folder; read it, do not write into it."""
    return tiny.make_model_folder(tmp_path_factory.mktemp("tiny") / "model")
