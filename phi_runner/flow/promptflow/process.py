"""One request to Prompt flow in a child process, which may be started early: importing Prompt flow takes seconds.

The child reads one request, a JSON line, from stdin and writes one reply to stdout; all else goes to the log.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from phi_runner import tether
from phi_runner.errors import FlowFailed
from phi_runner.flow.child import Child
from phi_runner.flow.connection import Connection
from phi_runner.flow.promptflow import batch, client

_waiting: dict[Path, Child] = {}
_lock = threading.Lock()


def _start(outputs: Path) -> Child:
    command = [sys.executable, "-m", __name__, str(outputs / "promptflow")]
    return Child(command, log=outputs / "logs" / "flow-test.log", environment={})


def warm_up(outputs: Path) -> None:
    """Start a child that imports Prompt flow and then waits for a request; returns at once, safe in any thread."""
    if client.missing():
        return
    with _lock:
        if outputs not in _waiting:
            _waiting[outputs] = _start(outputs)


@atexit.register
def _end_waiting() -> None:
    with _lock:
        while _waiting:
            _waiting.popitem()[1].end()


def _take(outputs: Path) -> Child:
    with _lock:
        child = _waiting.pop(outputs, None)
    if child is not None and child.exit_code is not None:
        child.end()
        child = None
    return child or _start(outputs)


def request(values: dict[str, Any], *, connection: Connection, outputs: Path, timeout_s: float) -> dict[str, Any]:
    """Have a child do what `values` say over the connection, and return its reply; raises FlowFailed."""
    lacking = client.missing()
    if lacking:
        raise FlowFailed(lacking)
    line = {**values, "name": connection.name, "endpoint": connection.endpoint, "key": connection.key}
    child = _take(outputs)
    try:
        text = child.exchange(json.dumps(line) + "\n", timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        where = f"the flow in {values['folder']}"
        raise FlowFailed(f"{where} gave no answer within {timeout_s:.0f} s; see {child.log}") from None
    try:
        reply: dict[str, Any] = json.loads(text)
    except ValueError:
        ended = f"Prompt flow ended without an answer (exit code {child.exit_code})"
        raise FlowFailed(f"{ended}; see {child.log}") from None
    if "error" in reply:
        raise FlowFailed(f"the flow failed: {reply['error']}")
    return reply


def _do(line: str, *, home: Path) -> dict[str, Any]:
    values = json.loads(line)
    folder, begun = Path(values["folder"]), time.perf_counter()
    connection = Connection(name=values["name"], endpoint=values["endpoint"], key=values["key"])
    if "rows" in values:
        return batch.run(folder, connection=connection, rows=Path(values["rows"]), run_name=values["run_name"])
    text = client.ask(folder, connection=connection, question=values["question"], log_folder=home / "test")
    return {"text": text, "call_s": time.perf_counter() - begun}


def _end_all(_number: int, _frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)  # a batch run has processes of its own


def main() -> None:
    """Serve one request; the child's entry point."""
    signal.signal(signal.SIGTERM, _end_all)
    tether.stop_with_parent()
    home = Path(sys.argv[1]).resolve()
    reply_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Prompt flow prints: only the reply may reach the parent
    client.prepare(home)
    begun = time.perf_counter()
    client.load()
    import_s = time.perf_counter() - begun
    line = sys.stdin.readline()
    if not line:
        return
    try:
        reply = {**_do(line, home=home), "import_s": import_s}
    except FlowFailed as err:
        reply = {"error": str(err)}
    with reply_to:
        json.dump(reply, reply_to)
    sys.stderr.flush()
    os._exit(0)  # the reply is out, nothing is open, and taking Prompt flow down in order takes another second


if __name__ == "__main__":
    main()
