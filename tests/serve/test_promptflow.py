"""Prompt flow's own client asks a live endpoint through a custom connection, as the Foundry tutorial builds it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from tests.serve.rig import KEY

FLOW = Path(__file__).parent / "fixtures" / "foundry_flow"
QUIET = "telemetry:\n  enabled: false\ntrace:\n  destination: none\nconnection:\n  provider: local\n"


def test_prompt_flow_is_answered_through_its_custom_connection(endpoint: httpx.Client, tmp_path: Path) -> None:
    folder = shutil.copytree(FLOW, tmp_path / "flow")
    home = tmp_path / "home"
    home.mkdir()
    (home / "pf.yaml").write_text(QUIET)
    asked = subprocess.run(
        [sys.executable, "-m", "tests.serve.asked_by_flow", str(folder), f"{endpoint.base_url}/score", KEY],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PF_HOME_DIRECTORY": str(home), "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    params = {"max_new_tokens": 8, "do_sample": False}
    [expected] = endpoint.post("/score", json={"input_data": ["Who founded Microsoft?"], "params": params}).json()
    assert json.loads(asked.stdout.splitlines()[-1])["answer"] == expected
