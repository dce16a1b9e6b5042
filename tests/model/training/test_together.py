"""Two processes that share a training: they save one checkpoint, stop after the same step, and go on from it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.model.training import drill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _pair(folder: Path, **asked: Any) -> tuple[list[int], str]:
    """Train in two processes and return their exit codes and what the first one said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    order = {"folder": str(folder), "log": str(folder.with_suffix(".log")), "method": "full"} | asked
    order["values"] = {"ddp_backend": "gloo", "gradient_accumulation_steps": 2, "per_device_train_batch_size": 1}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.model.training.drill", json.dumps(order)],
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    codes = []
    for number, process in enumerate(started):
        codes.append(process.wait(timeout=400))
        if codes[-1] and not number:
            started[1].terminate() if asked.get("kill_at") else None
    return codes, Path(f"{folder.with_suffix('.log')}.0").read_text(encoding="utf-8")


def test_both_stop_after_the_same_step_when_one_is_asked_to_and_go_on_exactly(tmp_path: Path) -> None:
    codes, said = _pair(tmp_path / "plain")
    assert codes == [0, 0], said
    codes, said = _pair(tmp_path / "run", rank=1, signal_at=6, signal=signal.SIGTERM)
    assert codes == [128 + signal.SIGTERM] * 2, said
    [newest] = [item.name for item in (tmp_path / "run").iterdir() if item.name in {"checkpoint-7", "checkpoint-8"}]
    assert sorted(file.name for file in (tmp_path / "run" / newest).glob("rng_state*")) == [
        "rng_state_0.pth", "rng_state_1.pth"
    ]  # fmt: skip
    codes, said = _pair(tmp_path / "run", rank=1, kill_at=10)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    codes, said = _pair(tmp_path / "run")
    assert codes == [0, 0], said
    assert f"continues from step {newest.rpartition('-')[2]}" in said
    assert "continues from step 9" in said
    assert drill.outcome(tmp_path / "run") == drill.outcome(tmp_path / "plain")
