"""`python -m phi_runner.azureml.emulator.job_process FOLDER`: runs a job's processes whether or not the emulator lives.

It reads `spec.json` and writes `process.json` (who it is) and `exit.json` (the exit codes) in the job's folder.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner import processes

SPEC, PROCESS, EXIT, LOCK = "spec.json", "process.json", "exit.json", "lock"
_POLL_S = 0.05
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a job's processes are."""

    command: str
    """For bash."""
    cwd: str
    environment: dict[str, str]
    ranks: list[dict[str, str]]
    """Further variables of each process; one process has none."""
    logs: list[str]
    """A file for the output of each process."""


def write(file: Path, value: Any) -> None:
    """Write JSON that is there whole or not at all."""
    aside = file.with_suffix(".tmp")
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.replace(file)


def main(folder: Path) -> int:
    """Run the job in `folder` in a process that nobody's child is; return once that has written down who it is.

    What ends the emulator and its children, as a clean stop does, must not end the jobs: a cloud's go on.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        os.read(read_end, 1)
        return 0
    os.close(read_end)
    os.setsid()
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another one runs this job already
            return 0
        write(folder / PROCESS, {"pid": os.getpid(), "created": processes.created(os.getpid())})
        os.close(write_end)
        spec = Spec(**json.loads((folder / SPEC).read_text(encoding="utf-8")))
        codes = _run(spec)
        if folder.exists():
            write(folder / EXIT, {"codes": codes})
    return 0


def _run(spec: Spec) -> list[int]:
    """Run all processes to their end and return their exit codes; one that fails ends the others."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())} if len(spec.ranks) > 1 else {}
    running = [
        _start(spec, file=file, environment=spec.environment | meeting | rank)
        for rank, file in zip(spec.ranks, spec.logs, strict=True)
    ]
    while any(child.poll() is None for child in running):
        if any(child.returncode for child in running) or not Path(spec.cwd).exists():  # the cloud was thrown away
            _end([child for child in running if child.poll() is None])
        time.sleep(_POLL_S)
    return [child.returncode for child in running]


def _start(spec: Spec, *, file: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with Path(file).open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the job's own command, which is what a node runs
            ["/bin/bash", "-c", spec.command], cwd=spec.cwd, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _end(children: list["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        processes.stop(child.pid, grace_s=_GRACE_S)
        child.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(main(Path(sys.argv[1])))
