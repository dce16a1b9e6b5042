"""One question through the real Prompt flow client, in a child process."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from phi_runner.errors import FlowFailed
from phi_runner.flow.back_end import Answer
from phi_runner.flow.connection import Connection, read_key
from phi_runner.flow.promptflow import process
from tests.flow.conftest import Rig
from tests.flow.standin import KEY


def ask(rig: Rig, question: str = "Who founded Microsoft?") -> Answer:
    return rig.prompt_flow.ask(rig.folder, question)


def test_answer_comes_through_openai_streaming_and_nothing_reaches_the_terminal_or_the_world(
    rig: Rig, capfd: pytest.CaptureFixture[str], calls_out: Path
):
    process.warm_up(rig.outputs)
    child = process._waiting[rig.outputs]
    process.warm_up(rig.outputs)
    assert process._waiting == {rig.outputs: child}
    assert ask(rig).text == "Who founded Microsoft? [0 before]"
    assert child.exit_code is not None
    asked = {"messages": [{"role": "user", "content": "Who founded Microsoft?"}], "stream": True}
    assert rig.standin.behaviour.bodies == [{**asked, "temperature": 0.0, "max_tokens": 128}]
    assert capfd.readouterr() == ("", "")
    assert calls_out.read_text() == ""
    assert "promptflow" not in sys.modules
    assert not (rig.folder / ".promptflow").exists()
    assert not any(KEY in file.read_text(errors="replace") for file in (rig.outputs / "promptflow").rglob("*.*"))


def test_endpoint_that_is_gone_is_named(rig: Rig):
    rig.standin.die()
    with pytest.raises(FlowFailed, match=r"failed: http://.*:\d+/v1/chat/completions cannot be reached: .*refused"):
        ask(rig)


def test_answer_that_breaks_off_is_a_failure(rig: Rig):
    rig.standin.behaviour.break_off = True
    with pytest.raises(FlowFailed, match=r"the flow failed: .*/v1/chat/completions broke off its answer"):
        ask(rig)


def test_flow_that_hangs_is_ended(rig: Rig):
    (rig.folder / "integrate_with_promptflow.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    process.warm_up(rig.outputs)
    begun = time.monotonic()
    with pytest.raises(FlowFailed, match=r"gave no answer within 1 s; see .*flow-test\.log"):
        rig.prompt_flow.ask(rig.folder, "?", timeout_s=1)
    assert time.monotonic() - begun < 10
    running = [item for item in psutil.Process().children() if item.status() != psutil.STATUS_ZOMBIE]
    assert not any("phi_runner.flow.promptflow.process" in item.cmdline() for item in running)


def test_child_that_dies_points_to_its_log(rig: Rig):
    (rig.folder / "integrate_with_promptflow.py").write_text("import os\nos._exit(7)\n", encoding="utf-8")
    with pytest.raises(FlowFailed, match=r"ended without an answer \(exit code 7\); see .*flow-test.log"):
        ask(rig)


def test_without_promptflow_it_says_what_to_install(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "promptflow", None)  # what an import finds where it is not installed
    process.warm_up(rig.outputs)
    assert process._waiting == {}
    with pytest.raises(FlowFailed, match=r"the flow needs promptflow: pip install 'phi-runner\[flow,serve\]'"):
        ask(rig)


def test_key_is_read_or_its_file_is_named_and_no_connection_shows_it(tmp_path: Path):
    with pytest.raises(
        FlowFailed, match=r"no.key cannot be read \(No such file or directory\): start the endpoint again"
    ):
        read_key(tmp_path / "no.key")
    assert KEY not in repr(Connection(name="phi-endpoint", endpoint="https://x.example/score", key=KEY))
