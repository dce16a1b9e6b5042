"""A server process that is not ours: it ends when we do, and says why when it ends before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from phi_runner.errors import DeployFailed
from phi_runner.serve.upstream.server import UpstreamServer
from tests.serve.rig import until

SERVER = """
import http.server, os, signal, socketserver, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        if self.path == "/die":
            print("OutOfMemoryError: no room for the cache", flush=True)
            os._exit(3)
    def log_message(self, *words):
        pass
    def address_string(self):
        return "test"
print("pid", os.getpid(), flush=True)
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
"""
STARTER = """
import sys, time
from pathlib import Path
from tests.serve.upstream.test_server import started
server = started(Path(sys.argv[1]))
print(server.folder, flush=True)
time.sleep(60)
"""


def started(program: Path, *words: str) -> UpstreamServer:
    """Start the program and wait until it answers."""
    server = UpstreamServer(
        "Tiny", lambda socket: [sys.executable, str(program), str(socket), *words], environment={"TOLD": "yes"}
    )
    server.wait_until_healthy("/health")
    return server


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A server of a few lines."""
    file = tmp_path / "server.py"
    file.write_text(SERVER)
    return file


def family(server: UpstreamServer) -> list[psutil.Process]:
    """Return the processes between us and the server, and the server."""
    leader = psutil.Process(server._child.pid)
    return [leader, *leader.children(recursive=True)]


@pytest.mark.parametrize("words", [(), ("stubborn",)])
def test_a_server_ends_with_its_engine_and_leaves_nothing(
    program: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started(program, *words)
    processes = family(server)
    assert len(processes) == 2
    assert server.folder.stat().st_mode & 0o077 == 0
    server.close()
    _gone, left = psutil.wait_procs(processes, timeout=5)
    assert left == []
    assert not server.folder.exists()


def test_a_server_ends_when_the_engines_process_is_killed(program: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as engine:
        assert engine.stdout is not None
        folder = Path(engine.stdout.readline().strip())
        processes = psutil.Process(engine.pid).children(recursive=True)
        assert len(processes) == 2
        engine.send_signal(signal.SIGKILL)
    _gone, left = psutil.wait_procs(processes, timeout=10)
    assert left == []
    assert until(lambda: not folder.exists())


def test_a_server_ends_when_the_process_that_watches_it_is_killed(program: Path) -> None:
    server = started(program)
    processes, reasons = family(server), []
    server.watch(reasons.append)
    processes[0].kill()
    _gone, left = psutil.wait_procs(processes, timeout=10)
    assert left == []
    assert until(lambda: bool(reasons))
    assert reasons == ["Tiny ended with exit code -9: it did not say why"]
    server.close()


def test_the_reason_is_the_last_line_that_looks_like_an_errors(program: Path) -> None:
    server = started(program)
    reasons: list[str] = []
    server.watch(reasons.append)
    server.get("/health")
    with pytest.raises(Exception, match="404"):
        server.get("/die")
    assert until(lambda: bool(reasons))
    assert reasons == ["Tiny ended with exit code 3: OutOfMemoryError: no room for the cache"]
    server.close()


def test_a_program_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    server = UpstreamServer("Tiny", lambda _socket: [str(tmp_path / "nothing")], environment={})
    with pytest.raises(DeployFailed, match=r"^Tiny ended with exit code 1: FileNotFoundError: .*nothing.* ready$"):
        server.wait_until_healthy("/health")
    server.close()
    assert time.monotonic() - began < 20
    assert os.listdir(tmp_path) == []
