"""The flow as plain Python: asked as a person would, by itself and by a run."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from phi_runner.config.schema import PlainFlow
from phi_runner.errors import FlowFailed
from phi_runner.flow import render
from phi_runner.flow.script import ScriptBackEnd
from tests.flow.conftest import Rig, make_rig, without
from tests.flow.standin import KEY, StandIn


def back_end(rig: Rig, **changes: object) -> ScriptBackEnd:
    made = ScriptBackEnd(python=sys.executable, spec=rig.spec, connection=rig.connection, outputs=rig.outputs)
    return replace(made, **changes)


@pytest.fixture
def plain(tmp_path: Path, endpoint: StandIn) -> Rig:
    """A plain flow in front of a stand-in endpoint."""
    return make_rig(tmp_path, endpoint, PlainFlow())


def test_question_is_answered_over_the_streaming_route(plain: Rig):
    assert back_end(plain).ask(plain.folder, "Who founded Microsoft?").text == "Who founded Microsoft? [0 before]"
    (asked,) = plain.standin.behaviour.bodies
    assert asked["messages"] == [{"role": "user", "content": "Who founded Microsoft?"}]
    assert (asked["stream"], asked["max_tokens"], asked["temperature"]) == (True, 128, 0.0)
    assert not (plain.folder / "__pycache__").exists()


def test_endpoint_that_takes_texts_only_is_asked_the_last_question(plain: Rig):
    spec = replace(plain.spec, manner=replace(plain.spec.manner, chat_form=False, streams=False))
    render.render(spec, folder=plain.folder)
    connection = replace(plain.connection, key_file=None)
    assert back_end(plain, connection=connection).ask(plain.folder, "Hello?").text == "Hello? [0 before]"
    params = {"max_new_tokens": 128, "do_sample": False, "return_full_text": False}
    assert plain.standin.behaviour.bodies == [{"input_data": ["Hello?"], "params": params}]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "answered 401: the key is not accepted"), (429, "answered 429: the endpoint is busy, ask again in a mom")],
)
def test_refusal_is_told_in_one_line(plain: Rig, status: int, words: str):
    plain.standin.behaviour.status = status
    with pytest.raises(FlowFailed, match=rf"the flow failed: http://.*/v1/chat/completions {words}") as failed:
        back_end(plain).ask(plain.folder, "Hello?")
    assert "\n" not in str(failed.value)


def test_endpoint_that_is_gone_is_named(plain: Rig):
    plain.standin.die()
    with pytest.raises(FlowFailed, match=r"/v1/chat/completions cannot be reached: .*refused"):
        back_end(plain).ask(plain.folder, "Hello?")


def test_flow_that_hangs_is_ended(plain: Rig):
    plain.standin.behaviour.pause_s = 30.0
    with pytest.raises(FlowFailed, match=r"gave no answer within 2 s; see .*flow-test\.log"):
        back_end(plain).ask(plain.folder, "a b c", timeout_s=2)
    running = [item for item in psutil.Process().children() if item.status() != psutil.STATUS_ZOMBIE]
    assert not any(str(plain.folder) in " ".join(item.cmdline()) for item in running)


def test_interpreter_that_is_none_is_named(plain: Rig):
    with pytest.raises(FlowFailed, match="interpreter /no/python cannot be started: No such file"):
        back_end(plain, python="/no/python").ask(plain.folder, "Hello?")


def test_folder_without_a_flow_is_refused(plain: Rig):
    (plain.folder / "serve.py").unlink()
    with pytest.raises(FlowFailed, match=r"there is no flow in .*: render it with stages=\[flow\]"):
        back_end(plain).server(plain.folder)


def test_what_serving_lacks_is_told(plain: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(FlowFailed, match=r"serving the flow needs uvicorn: pip install 'phi-runner\[serve\]'"):
        back_end(plain).server(plain.folder)


def test_folder_runs_by_itself_without_phi_runner_and_prompt_flow(plain: Rig, tmp_path: Path):
    """One conversation over standard input, with address and key from the environment."""
    environment = without("phi_runner", "promptflow", folder=tmp_path / "block")
    environment |= {"PHI_ENDPOINT_URL": plain.connection.endpoint, "PHI_ENDPOINT_KEY": KEY}

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "flow.py", *arguments], cwd=plain.folder, env=environment, input=text,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    talked = run(text="Who are you?\n\nWhy?\n")
    assert (talked.stdout, talked.stderr) == ("Who are you? [0 before]\nWhy? [2 before]\n", "")
    assert run("One", "question").stdout == "One question [0 before]\n"
    del environment["PHI_ENDPOINT_KEY"]
    lost = run("Hello?")
    assert (lost.returncode, lost.stdout) == (1, "")
    wanted = "set PHI_ENDPOINT_KEY to the endpoint's key, or PHI_ENDPOINT_KEY_FILE to a file that holds it"
    assert lost.stderr == f"{wanted}\n"


PARENT = """
import os, signal, sys
from pathlib import Path
sys.argv = ["x"]
from phi_runner.flow.child import Child
child = Child([{python!r}, {tether!r}, {script!r}, "a b c d"], log=Path({log!r}), environment={environment!r})
print(child.pid, flush=True)
signal.pause()
"""


def test_question_being_asked_ends_with_a_killed_parent(plain: Rig):
    plain.standin.behaviour.pause_s = 20.0
    made = back_end(plain)
    python, tether, script = made._command(plain.folder / "flow.py")
    text = PARENT.format(
        python=python, tether=tether, script=script, log=str(plain.outputs / "log"), environment=made._environment()
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until = time.monotonic() + 20
        while not plain.standin.behaviour.bodies and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(parent.pid, 9)
    assert plain.standin.behaviour.bodies
    until = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
