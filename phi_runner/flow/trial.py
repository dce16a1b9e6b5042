"""Ask a flow one question in a child process, which may be started early: importing Prompt flow takes seconds.

The child reads one request, a JSON line, from stdin and writes one reply to stdout; all else goes to the log. It ends
with its parent, however that ends: its stdin closes.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from phi_runner.errors import FlowFailed
from phi_runner.flow import pf

_waiting: dict[Path, subprocess.Popen[str]] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the flow said, and what it took."""

    text: str
    import_s: float
    """Seconds that importing Prompt flow took, waited for or not."""
    call_s: float
    """Seconds from question to answer."""


def _log(outputs: Path) -> Path:
    return outputs / "logs" / "flow-test.log"


def _start(outputs: Path) -> subprocess.Popen[str]:
    _log(outputs).parent.mkdir(parents=True, exist_ok=True)
    with _log(outputs).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __name__, str(outputs / "promptflow")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
            start_new_session=True,
        )  # fmt: skip


def warm_up(outputs: Path) -> None:
    """Start a child that imports Prompt flow and then waits for `ask`; returns at once, safe in any thread."""
    if pf.missing():
        return
    with _lock:
        if outputs not in _waiting:
            _waiting[outputs] = _start(outputs)


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    with child:
        pass


@atexit.register
def _end_waiting() -> None:
    with _lock:
        while _waiting:
            _end(_waiting.popitem()[1])


def _take(outputs: Path) -> subprocess.Popen[str]:
    with _lock:
        child = _waiting.pop(outputs, None)
    if child is not None and child.poll() is not None:
        _end(child)
        child = None
    return child or _start(outputs)


def ask(folder: Path, *, connection: pf.Connection, question: str, outputs: Path, timeout_s: float = 330.0) -> Answer:
    """Ask the flow in `folder` through the Prompt flow client; raises FlowFailed with what went wrong."""
    lacking = pf.missing()
    if lacking:
        raise FlowFailed(lacking)
    log = _log(outputs)
    request = {
        "folder": str(folder), "question": question, "name": connection.name, "endpoint": connection.endpoint,
        "key": connection.key,
    }  # fmt: skip
    child = _take(outputs)
    try:
        reply, _ = child.communicate(json.dumps(request) + "\n", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise FlowFailed(f"the flow in {folder} gave no answer within {timeout_s:.0f} s; see {log}") from None
    finally:
        _end(child)
    try:
        values = json.loads(reply)
    except ValueError:
        raise FlowFailed(f"Prompt flow ended without an answer (exit code {child.returncode}); see {log}") from None
    if "error" in values:
        raise FlowFailed(f"the flow failed: {values['error']}")
    return Answer(**values)


def _answer(request: dict[str, str], *, home: Path) -> tuple[str, float]:
    connection = pf.Connection(name=request["name"], endpoint=request["endpoint"], key=request["key"])
    begun = time.perf_counter()
    text = pf.ask(
        Path(request["folder"]), connection=connection, question=request["question"], log_folder=home / "test"
    )
    return text, time.perf_counter() - begun


def main() -> None:
    """Serve one request; the child's entry point."""
    home = Path(sys.argv[1]).resolve()
    reply_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Prompt flow prints: only the reply may reach the parent
    pf.prepare(home)
    begun = time.perf_counter()
    pf.load()
    import_s = time.perf_counter() - begun
    line = sys.stdin.readline()
    if not line:
        return
    try:
        text, call_s = _answer(json.loads(line), home=home)
    except FlowFailed as err:
        reply: dict[str, str | float] = {"error": str(err)}
    else:
        reply = {"text": text, "import_s": import_s, "call_s": call_s}
    with reply_to:
        json.dump(reply, reply_to)
    sys.stderr.flush()
    os._exit(0)  # the reply is out, nothing is open, and taking Prompt flow down in order takes another second


if __name__ == "__main__":
    main()
