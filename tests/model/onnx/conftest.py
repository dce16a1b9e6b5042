"""Exports of small models, each made once."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest


def export(model: Path, folder: Path, *, precision: str = "fp32") -> Path:
    """Export in this process; the model builder has warnings of its own."""
    from phi_runner.model.onnx import build

    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build.fill(model, precision=precision, folder=folder)
    return folder


@pytest.fixture(scope="session")
def exporting() -> Callable[..., Path]:
    """What exports."""
    return export


@pytest.fixture(scope="session")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in fp32; read it, do not write into it."""
    return export(tiny_model, tmp_path_factory.mktemp("onnx") / "fp32")


@pytest.fixture(scope="session")
def quantised(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in int4."""
    return export(tiny_model, tmp_path_factory.mktemp("onnx") / "int4", precision="int4")
