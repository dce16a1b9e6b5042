"""Server processes: tied to the life of who started them, found again, ended for sure."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from phi_runner import processes
from phi_runner.processes import Running

SERVER = """
import signal, sys, time
from phi_runner import processes
processes.stop_with_parent()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
DRAINS = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def drain(*_signal):
    time.sleep(0.3)
    print("child is there:", child.poll() is None, flush=True)
    child.terminate()
    child.wait()
    sys.exit()
signal.signal(signal.SIGTERM, drain)
print("up", flush=True)
time.sleep(60)
"""
STARTER = """
import sys, time
from pathlib import Path
from phi_runner import processes
child = processes.start("server", [], log=Path(sys.argv[1]), detach=sys.argv[2] == "detach")
while "up" not in Path(sys.argv[1]).read_text():
    time.sleep(0.01)
if sys.argv[2] == "let_go":
    processes.let_go(child.pid)
print(child.pid, flush=True)
time.sleep(60)
"""


def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> bool:
    """Wait until the condition holds; say whether it did in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def _server_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "drains.py").write_text(DRAINS)
    package = Path(processes.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(package)]))


def start(folder: Path, *arguments: str) -> Running:
    """Start a server and wait until it is up."""
    log = folder / "log"
    child = processes.start("server", arguments, log=log, detach=True)
    assert until(lambda: "up" in log.read_text())
    return Running(
        name="one", kind="endpoint", pid=child.pid, created=processes.created(child.pid), url="http://x", log=str(log),
        detached=True,
    )  # fmt: skip


@pytest.mark.parametrize(("how", "stays"), [("tie", False), ("detach", True), ("let_go", True)])
def test_only_a_detached_server_outlives_a_killed_runner(tmp_path: Path, how: str, stays: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log"), how], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        server = psutil.Process(int(runner.stdout.readline()))
        runner.send_signal(signal.SIGKILL)
    try:
        if stays:
            with pytest.raises(psutil.TimeoutExpired):
                server.wait(timeout=0.3)
        else:
            server.wait(timeout=10)
    finally:
        if server.is_running():
            server.kill()


def test_a_server_is_written_down_found_and_forgotten(tmp_path: Path) -> None:
    running = start(tmp_path)
    processes.write_down(running, outputs=tmp_path)
    assert processes.is_ours(running.pid)
    assert processes.find("endpoint", "one", outputs=tmp_path) == running
    assert processes.find("flow", "one", outputs=tmp_path) is None
    processes.stop_recorded(running, outputs=tmp_path)
    assert not running.alive()
    assert processes.listed(outputs=tmp_path) == []
    assert list((tmp_path / "running").iterdir()) == []


def test_a_server_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    running = start(tmp_path, "stubborn")
    processes.stop(running.pid, grace_s=0.2)
    assert not running.alive()
    assert not psutil.pid_exists(running.pid)


def test_a_leader_that_drains_keeps_its_children_until_it_is_done(tmp_path: Path) -> None:
    log = tmp_path / "log"
    leader = processes.start("drains", [], log=log, detach=True)
    assert until(lambda: "up" in log.read_text())
    processes.stop(leader.pid, leader_first=True)
    assert log.read_text().splitlines()[1:] == ["child is there: True"]
    assert not psutil.pid_exists(leader.pid)


def test_a_process_that_got_the_number_of_a_dead_server_is_not_taken_for_it(tmp_path: Path) -> None:
    me = os.getpid()
    stranger = Running(
        name="one", kind="flow", pid=me, created=processes.created(me) - 100, url="", log="", detached=True
    )
    processes.write_down(stranger, outputs=tmp_path)
    assert processes.listed(outputs=tmp_path) == []


def test_a_record_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / "endpoint-a.json").write_text("{")
    (tmp_path / "running" / "endpoint-b.json").write_text(json.dumps({"name": "b"}))
    assert processes.listed(outputs=tmp_path) == []


def test_stopping_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    running = start(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    assert until(lambda: not running.alive())
    processes.stop(running.pid)
    processes.stop_recorded(running, outputs=tmp_path)


def test_a_name_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    order, waited = [], threading.Event()

    def second() -> None:
        with processes.name_lock("flow", "one", outputs=tmp_path, on_wait=waited.set):
            order.append("second")

    other = threading.Thread(target=second)
    with processes.name_lock("flow", "one", outputs=tmp_path), processes.name_lock("flow", "two", outputs=tmp_path):
        other.start()
        assert waited.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
    assert processes.listed(outputs=tmp_path) == []


def test_forgetting_a_server_leaves_the_record_of_its_successor(tmp_path: Path) -> None:
    first = start(tmp_path)
    second = replace(first, pid=os.getpid(), created=processes.created(os.getpid()))
    processes.write_down(first, outputs=tmp_path)
    processes.stop(first.pid)
    processes.write_down(second, outputs=tmp_path)
    processes.stop_recorded(first, outputs=tmp_path)
    assert processes.listed(outputs=tmp_path) == [second]


@pytest.mark.parametrize("how", ["tie", "detach", "let_go"])
def test_nothing_is_said_at_the_end_of_servers_that_still_run(tmp_path: Path, how: str) -> None:
    program = STARTER.removesuffix("time.sleep(60)\n")
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path / "log"), how], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).kill()
    assert done.stderr == ""
