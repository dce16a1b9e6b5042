"""One question through the real Prompt flow client, in a child process."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from phi_runner.errors import FlowFailed
from phi_runner.flow import pf, trial
from tests.flow.conftest import Rig
from tests.flow.standin import KEY


def ask(rig: Rig, question: str = "Who founded Microsoft?") -> trial.Answer:
    return trial.ask(rig.folder, connection=rig.connection, question=question, outputs=rig.outputs)


def test_answer_comes_through_contract_b_and_nothing_reaches_the_terminal_or_the_world(
    rig: Rig, capfd: pytest.CaptureFixture[str], calls_out: Path
):
    trial.warm_up(rig.outputs)
    child = trial._waiting[rig.outputs]
    trial.warm_up(rig.outputs)
    assert trial._waiting == {rig.outputs: child}
    assert ask(rig).text == "Who founded Microsoft? [0 before]"
    assert child.returncode is not None
    assert rig.standin.behaviour.bodies == [
        {
            "input_data": {
                "input_string": [{"role": "user", "content": "Who founded Microsoft?"}],
                "parameters": {"temperature": 0.0, "max_new_tokens": 128},
            }
        }
    ]
    assert capfd.readouterr() == ("", "")
    assert calls_out.read_text() == ""
    assert "promptflow" not in sys.modules
    assert not (rig.folder / ".promptflow").exists()
    assert not any(KEY in file.read_text(errors="replace") for file in (rig.outputs / "promptflow").rglob("*.*"))


def test_endpoint_that_is_gone_is_named(rig: Rig):
    rig.standin.die()
    with pytest.raises(FlowFailed, match=r"the flow failed: http://127.0.0.1:\d+/score cannot be reached: .*refused"):
        ask(rig)


def test_flow_that_hangs_is_ended(rig: Rig):
    (rig.folder / "integrate_with_promptflow.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    trial.warm_up(rig.outputs)
    begun = time.monotonic()
    with pytest.raises(FlowFailed, match=r"gave no answer within 1 s; see .*flow-test\.log"):
        trial.ask(rig.folder, connection=rig.connection, question="?", outputs=rig.outputs, timeout_s=1)
    assert time.monotonic() - begun < 10
    assert not any("phi_runner.flow.trial" in item.cmdline() for item in psutil.Process().children())


def test_child_that_dies_points_to_its_log(rig: Rig):
    (rig.folder / "integrate_with_promptflow.py").write_text("import os\nos._exit(7)\n", encoding="utf-8")
    with pytest.raises(FlowFailed, match=r"ended without an answer \(exit code 7\); see .*flow-test.log"):
        ask(rig)


def test_without_promptflow_it_says_what_to_install(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "promptflow", None)  # what an import finds where it is not installed
    trial.warm_up(rig.outputs)
    assert trial._waiting == {}
    with pytest.raises(FlowFailed, match=r"the flow needs promptflow: pip install 'phi-runner\[flow,serve\]'"):
        ask(rig)


def test_key_is_read_or_its_file_is_named_and_no_connection_shows_it(tmp_path: Path):
    with pytest.raises(
        FlowFailed, match=r"no.key cannot be read \(No such file or directory\): start the endpoint again"
    ):
        pf.read_key(tmp_path / "no.key")
    assert KEY not in repr(pf.Connection(name="phi-endpoint", endpoint="https://x.example/score", key=KEY))
