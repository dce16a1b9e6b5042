"""Whether an engine with a server of its own can run here, found out without loading it."""

import subprocess
import sys
from pathlib import Path

from phi_runner.config import cuda

_ANSWER_S = 30.0
_ABSENT = 3
_LOOK = f"import importlib.util, sys; sys.exit(0 if importlib.util.find_spec(sys.argv[1]) else {_ABSENT})"
_AMD = Path("/dev/kfd")
"""AMD's driver."""


def vllm(python: str = "") -> str:
    """Say why `deploy.engine=vllm` cannot run here, or nothing; `python` is `deploy.python`."""
    if cuda.devices() == 0 and not _AMD.exists():
        return "deploy.engine=vllm needs a GPU and there is none here: type deploy.engine=transformers or onnx"
    return _missing(
        "vllm", python=python or sys.executable,
        instead="python -m venv vllm-env && vllm-env/bin/pip install vllm, then deploy.python=vllm-env/bin/python",
    )  # fmt: skip


def azureml(python: str) -> str:
    """Say why a user's own environment cannot run Azure's inference server, or nothing; empty: one will be made."""
    if not python:
        return ""
    return _missing(
        "azureml_inference_server_http", python=python,
        instead=f"{python} -m pip install azureml-inference-server-http, or leave deploy.python empty to have it made",
    )  # fmt: skip


def _missing(module: str, *, python: str, instead: str) -> str:
    try:
        looked = subprocess.run(  # noqa: S603 - the interpreter that the user names
            [python, "-c", _LOOK, module], capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"deploy.python={python} does not run: {err}"
    if looked.returncode == _ABSENT:
        return f"{python} has no {module}: type {instead}"
    if looked.returncode:
        return f"deploy.python={python} does not run: {' '.join(looked.stderr.split())[-200:]}"
    return ""
