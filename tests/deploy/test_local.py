"""The endpoint on this machine: rolled out without a lost request, kept, taken back, moved, never left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner import processes
from phi_runner.deploy import history, local
from phi_runner.deploy.local import Up, Wanted
from phi_runner.errors import ConfigProblem, DeployFailed
from phi_runner.processes import Running
from tests.deploy.rig import Asking, Heard, engine, free_port, held_out, key_of, stand_in, stop_all, wanted
from tests.serve.rig import until

RUN = """
import os, signal, sys
from pathlib import Path
from tests.deploy.rig import Heard, held_out, stand_in
from phi_runner.deploy import local
outputs, label, dies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
heard = Heard()
def take(_event):
    if len(heard.lines) == dies:
        os.kill(os.getpid(), signal.SIGKILL)
heard.events.events.listen(take)
print(local.bring_up(stand_in(outputs, label, detach=True), events=heard.events).deployment, len(heard.lines))
"""


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Path]:
    """An outputs folder whose endpoints end with the test."""
    yield tmp_path / "outputs"
    stop_all(tmp_path / "outputs")


def servers() -> list[int]:
    """Return the pids of the gateways and engines that this process has started and that still run."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "--settings" in child.cmdline()]


def up(wish: Wanted, heard: Heard | None = None) -> Up:
    """Bring an endpoint up."""
    return local.bring_up(wish, events=(heard or Heard()).events)


def says(running: Running, outputs: Path) -> str:
    """Ask an endpoint something; return its answer."""
    headers = {"Authorization": f"Bearer {key_of(outputs)}"}
    answer = httpx.post(f"{running.url}/score", json={"input_data": ["x"]}, headers=headers, trust_env=False)
    return str(answer.raise_for_status().json()[0])


def evaluated(model_folder: Path, file: Path, *, changed: int = 0) -> Path:
    """Write what the stage `evaluate` finds out about a model; `changed` of its four answers are other ones."""
    from phi_runner.model import load, measure
    from phi_runner.model.device import Device

    model, tokenizer = load.pretrained(str(model_folder))
    dialogues = [[{"role": "user", "content": text}] for text in ("Who founded?", "Where is Paris?", "Why?", "The sun")]
    answers = measure.answers(
        model, tokenizer, dialogues, max_new_tokens=12, batch_size=4, device=Device(name="cpu", bf16=False, why="")
    )
    rows = [
        {"messages": dialogue, "after": "other" if number < changed else answer, "max_new_tokens": 12}
        for number, (dialogue, answer) in enumerate(zip(dialogues, answers, strict=True))
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_real_thing_is_rolled_out_kept_and_taken_back(tiny_model: Path, outputs: Path) -> None:
    port, heard = free_port(), Heard()
    good = evaluated(tiny_model, outputs / "good.jsonl")
    first = up(wanted(tiny_model, outputs, port=port, detach=True, answers=good), heard)
    assert "blue answers 4 of 4 held-out prompts as the evaluated model did" in heard.text
    assert (first.running.url, first.deployment) == (f"http://127.0.0.1:{port}", "blue")
    assert processes.find("endpoint", "phi-endpoint", outputs=outputs) == first.running
    assert "blue passed its test" in heard.text

    begun = time.monotonic()
    assert up(wanted(tiny_model, outputs, port=port, detach=True), heard).running == first.running
    assert time.monotonic() - begun < 5
    assert "blue already serves this model" in heard.text

    with Asking(first.running.url, key=key_of(outputs)) as asking:
        second = up(wanted(tiny_model, outputs, port=port, label="tiny/2", detach=True, answers=good), heard)
        other = wanted(
            tiny_model, outputs, label="tiny/3", detach=True, answers=evaluated(tiny_model, outputs / "o", changed=2)
        )
        with pytest.raises(DeployFailed, match=r"blue answers only 2 of 4 .* 'other'; green has the traffic"):
            up(other, heard)
        broken = wanted(tiny_model, outputs, port=port, label="tiny/3", detach=True, trained_with="0" * 64)
        with pytest.raises(DeployFailed, match=r"has another chat template .*\(log: .*\.log\); green has the traffic"):
            up(broken, heard)
    assert (second.running, second.deployment) == (first.running, "green")
    assert (asking.failed, asking.answered > 10) == ([], True)
    assert len(asking.answers) == 1
    log = Path(first.running.log)
    assert key_of(outputs) not in heard.text + "".join(file.read_text() for file in log.parent.iterdir())


def test_a_swap_under_load_loses_nothing_and_the_old_ones_answers_come_to_their_end(outputs: Path) -> None:
    first = up(stand_in(outputs, "one/1", detach=True))
    before, late = servers(), list[httpx.Response]()

    def ask_slowly() -> None:
        headers = {"Authorization": f"Bearer {key_of(outputs)}"}
        body = {"input_data": ["slowly"]}
        late.append(httpx.post(f"{first.running.url}/score", json=body, headers=headers, timeout=30, trust_env=False))

    slow = threading.Thread(target=ask_slowly)
    with Asking(first.running.url, key=key_of(outputs)) as asking:
        assert until(lambda: asking.answered > 0)
        slow.start()
        assert up(stand_in(outputs, "two/2", detach=True)).running == first.running
        slow.join()
        assert until(lambda: says(first.running, outputs) == "two")
    assert asking.failed == []
    assert set(asking.answers) == {'["one"]', '["two"]'}
    assert (late[0].status_code, late[0].json()) == (200, ["one"])
    assert len(servers()) == len(before) == 2


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("bad/2 never-starts", "ended while it started: cannot load the model: it is broken"),
        ("bad/2 crash-when-asked", "green died .* while it was watched: exit code -9"),
        ("good/2 crash-later", "green died once while it was watched: exit code -9"),
        ("good/2 other-answers", r"green answers only 0 of 4 held-out prompts .* deploy\.quality_floor=0\.75"),
    ],
)
def test_a_broken_one_is_taken_back_and_nobody_notices(outputs: Path, label: str, told: str) -> None:
    answers, heard = held_out(outputs / "answers.jsonl", "good"), Heard()
    first = up(stand_in(outputs, "good/1", detach=True, answers=answers))
    with Asking(first.running.url, key=key_of(outputs)) as asking:
        with pytest.raises(DeployFailed, match=f"{told}.*; blue has the traffic"):
            up(stand_in(outputs, label, detach=True, step_s=1.0, answers=answers), heard)
        so_far = asking.answered
        assert until(lambda: asking.answered > so_far + 5)
    assert asking.failed == []
    assert "removed deployment green: it failed" in heard.text
    assert len(servers()) == 2


def test_what_served_before_is_brought_back(outputs: Path) -> None:
    with pytest.raises(DeployFailed, match="has served nothing before what it serves now"):
        up(stand_in(outputs, "one/1", rollback=True))
    first = up(stand_in(outputs, "one/1", detach=True, max_new_tokens=7))
    up(stand_in(outputs, "two/2", detach=True))
    back = up(stand_in(outputs, "two/2", detach=True, rollback=True))
    assert (back.serves.label, back.serves.settings["max_new_tokens"]) == ("one/1", 7)
    assert (back.running, says(back.running, outputs)) == (first.running, "one")
    local.forget("phi-endpoint", outputs=outputs)
    assert not history.file_of("local", "phi-endpoint", outputs=outputs).exists()


def test_an_endpoint_moves_to_another_port_and_may_outlive_its_run_later(outputs: Path) -> None:
    heard = Heard()
    first = up(stand_in(outputs, "one/1"))
    assert up(stand_in(outputs, "one/1", detach=True)).running.detached
    port = free_port()
    moved = up(stand_in(outputs, "one/1", port=port, detach=True), heard)
    assert moved.running.url == f"http://127.0.0.1:{port}"
    assert f"it does not listen on deploy.port={port}" in heard.text
    assert not first.running.alive()
    assert len(servers()) == 2
    with pytest.raises(DeployFailed, match=r"deploy\.host=0\.0\.0\.0 with the same port"):
        up(stand_in(outputs, "one/1", port=port, host="0.0.0.0", detach=True))


def test_a_taken_port_is_told_with_what_to_type(outputs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeployFailed, match=rf"deploy\.port={port} is already in use .* type deploy\.port=0"):
            up(stand_in(outputs, "one/1", port=port))
    assert servers() == []


def test_an_endpoint_that_is_not_ready_in_time_is_stopped(outputs: Path) -> None:
    with pytest.raises(DeployFailed, match=r"not ready after deploy\.start_timeout_s=0\.3"):
        up(stand_in(outputs, "one/1 never-ready", start_timeout_s=0.3))
    assert servers() == []
    assert processes.listed(outputs=outputs) == []


def test_a_name_that_is_no_file_name_is_refused(outputs: Path) -> None:
    with pytest.raises(ConfigProblem, match=r"deploy\.name='\.\./x'"):
        up(stand_in(outputs, "one/1", name="../x"))


def test_two_runs_that_deploy_one_name_take_turns(outputs: Path) -> None:
    heard, done = [Heard(), Heard()], list[Up]()
    runs = [
        threading.Thread(target=lambda n=n: done.append(up(stand_in(outputs, f"{n}/1", detach=True), heard[n])))
        for n in range(2)
    ]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert "another run deploys phi-endpoint: waiting" in heard[0].text + heard[1].text
    assert done[0].running == done[1].running
    assert says(done[1].running, outputs) == done[1].serves.label[0]
    assert len(servers()) == 2


def killed_run(outputs: Path, label: str, *, dies: int) -> str:
    """Deploy in a process that is killed after it has said `dies` things; return what it printed, if it ended well."""
    command = [sys.executable, "-c", RUN, str(outputs), label, str(dies)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.stdout


def kill_at(outputs: Path, *, dies: int, victim: str = "") -> bool:
    """Kill a run, and after it a process, under load; the next run ends well. Say whether the run was killed at all."""
    first = up(stand_in(outputs, "one/1", detach=True))
    with Asking(first.running.url, key=key_of(outputs)) as asking:
        ended = killed_run(outputs, "two/2", dies=dies)
        if victim:
            there = {child.pid: child for child in psutil.Process(first.running.pid).children()}
            list(there.values())[-1 if victim == "newest" else 0].kill()
        with contextlib.suppress(DeployFailed):  # it may come before the gateway has seen the death, and go back
            up(stand_in(outputs, "two/2", detach=True))
        last = up(stand_in(outputs, "two/2", detach=True))
        assert until(lambda: says(last.running, outputs) == "two")
    assert asking.failed == []
    assert (last.running, len(servers())) == (first.running, 2)
    return not ended


@pytest.mark.parametrize(("dies", "victim"), [(2, ""), (4, "newest"), (6, "oldest")])
def test_a_killed_run_is_continued_by_the_next(outputs: Path, dies: int, victim: str) -> None:
    assert kill_at(outputs, dies=dies, victim=victim)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["", "newest", "oldest"])
def test_runs_and_engines_killed_at_every_step(tmp_path: Path, victim: str) -> None:
    dies = 1
    while True:
        outputs = tmp_path / str(dies)
        try:
            if not kill_at(outputs, dies=dies, victim=victim):
                break
        finally:
            stop_all(outputs)
        dies += 1
    assert dies > 8


def test_with_the_gateway_its_engines_end_and_the_next_run_starts_anew(outputs: Path) -> None:
    first = up(stand_in(outputs, "one/1", detach=True))
    model = engine(first.running, "blue")
    os.kill(first.running.pid, signal.SIGKILL)
    model.wait(timeout=10)
    again = up(stand_in(outputs, "one/1", detach=True))
    assert again.running.pid != first.running.pid
    assert says(again.running, outputs) == "one"
    assert len(list((outputs / "endpoints" / "phi-endpoint").iterdir())) == 1


def test_a_first_deployment_that_is_killed_leaves_nothing_running(outputs: Path) -> None:
    outputs.mkdir(parents=True)
    assert killed_run(outputs, "one/1", dies=2) == ""

    def left() -> list[int]:
        return [item.pid for item in psutil.process_iter() if str(outputs) in " ".join(_words(item))]

    assert until(lambda: left() == [])


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
