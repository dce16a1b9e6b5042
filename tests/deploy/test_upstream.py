"""What an engine needs before it is deployed."""

import sys
from pathlib import Path

import pytest

from phi_runner.config.schema import EngineName, LocalDeploy
from phi_runner.deploy import upstream
from phi_runner.errors import DeployFailed
from tests.data.listening import Listening

PYTHON = """#!/bin/sh
exit 0
"""


def test_engines_of_our_own_process_need_nothing(tmp_path: Path) -> None:
    for engine in (EngineName.transformers, EngineName.onnx):
        config = LocalDeploy(engine=engine, python="/nowhere")
        assert upstream.problems(config) == ""
        assert upstream.prepare(config, outputs=tmp_path, events=Listening().events) == upstream.Prepared()


def test_azures_server_gets_the_code_that_the_cloud_gets(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    heard = Listening()
    config = LocalDeploy(engine=EngineName.azureml, python=str(python))
    found = upstream.prepare(config, outputs=tmp_path / "outputs", events=heard.events)
    assert found.engine_python == str(python)
    assert Path(found.engine_folder).is_absolute()
    assert (Path(found.engine_folder) / "score.py").is_file()
    assert heard.heard == []
    assert upstream.prepare(config, outputs=tmp_path / "outputs", events=heard.events) == found


def test_what_cannot_run_here_is_not_prepared(tmp_path: Path) -> None:
    config = LocalDeploy(engine=EngineName.azureml, python=sys.executable)
    with pytest.raises(DeployFailed, match=r"has no azureml_inference_server_http: type "):
        upstream.prepare(config, outputs=tmp_path, events=Listening().events)
    assert list(tmp_path.iterdir()) == []
