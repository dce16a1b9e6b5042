"""Virtual environments for what cannot share ours: each made once below `outputs`, in its place, and marked when whole.

An environment cannot be moved (its scripts name its interpreter), so there is no making it aside: one without a marker
was not finished and is made again. `python -m phi_runner.venvs` is the process that makes one; it ends with the run.
"""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from phi_runner import locks, processes
from phi_runner.errors import PhiRunnerError
from phi_runner.events import StageEvents

_MARKER = "phi-runner.json"
"""Written last; it says where the environment was made and of what."""
_SHOWN = 160
"""Characters of pip's own words in our error."""


class EnvironmentNotMade(PhiRunnerError):
    """A virtual environment could not be made."""


def ensure(name: str, *, requirements: Sequence[str], home: Path, option: str, events: StageEvents) -> Path:
    """Return the interpreter of an environment with these requirements, made in the folder `home` unless it is there.

    `home` is a folder in `outputs`, beside which pip's log is kept; `option` names the interpreter of an environment
    of the user's own, as `deploy.python` does. Raises EnvironmentNotMade.
    """
    home = home.absolute()
    wanted = sorted(requirements)
    folder = home / f"{name}-{_digest(wanted)}"

    def waiting() -> None:
        events.info(f"another run makes the environment {folder.name}: waiting")

    try:
        with locks.held(home / f".{folder.name}.lock", on_wait=waiting):
            if not _is_whole(folder, wanted):
                log = home.parent / "logs" / f"environment-{folder.name}.log"
                _make(folder, wanted, name=name, log=log, option=option, events=events)
    except OSError as err:
        raise EnvironmentNotMade(f"cannot write {folder}: {err.strerror}; type outputs=FOLDER") from err
    return interpreter(folder)


def interpreter(folder: Path) -> Path:
    """Return the Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _digest(requirements: list[str]) -> str:
    text = json.dumps([requirements, platform.python_version(), sys.base_prefix])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _mark(folder: Path, requirements: list[str]) -> str:
    return json.dumps({"folder": str(folder), "requirements": requirements}, indent=2) + "\n"


def _is_whole(folder: Path, requirements: list[str]) -> bool:
    """Say whether an environment was finished, in this very place, and its Python is still there."""
    try:
        marked = (folder / _MARKER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return marked == _mark(folder, requirements) and interpreter(folder).exists()


def _make(folder: Path, requirements: list[str], *, name: str, log: Path, option: str, events: StageEvents) -> None:
    events.info(f"makes an environment for {name} in {folder}: once, it may take minutes; log: {log}")
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    child = processes.start(__name__, [str(folder), *requirements], log=log, detach=False)
    try:
        failed = child.wait()
    finally:
        processes.stop(child.pid)
    if failed:
        raise EnvironmentNotMade(_in_one_line(folder, requirements, name=name, log=log, option=option))
    aside = folder / f"{_MARKER}.tmp"
    aside.write_text(_mark(folder, requirements), encoding="utf-8")
    aside.replace(folder / _MARKER)
    size_mb = sum(file.lstat().st_size for file in folder.rglob("*")) / 1e6
    took_s = time.monotonic() - began
    events.info(f"the environment for {name} is made: {took_s:.0f} s, {size_mb:.0f} MB", seconds=took_s, mb=size_mb)


def _in_one_line(folder: Path, requirements: list[str], *, name: str, log: Path, option: str) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    reason = (errors or lines or ["it was ended"])[-1][:_SHOWN]
    own = folder.with_name(name)
    pip = shlex.join([str(interpreter(own)), "-m", "pip", "install", *requirements])
    return (
        f"the environment for {name} could not be made: {reason} (log: {log}); with a network, type "
        f"{shlex.join(['python', '-m', 'venv', str(own)])} && {pip}, then {option}={interpreter(own)}"
    )


def main() -> int:
    """Make the environment that the command line names, in a session of our own; return pip's exit code."""
    folder, *requirements = sys.argv[1:]

    def end(_number: int, _frame: FrameType | None) -> None:
        os.killpg(0, signal.SIGKILL)  # pip and what it builds go with us

    signal.signal(signal.SIGTERM, end)
    processes.stop_with_parent()
    made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)  # noqa: S603 - our own interpreter
    if made.returncode:
        return made.returncode
    with contextlib.suppress(KeyError):
        del os.environ["PYTHONPATH"]  # what lies there is not in the environment
    pip = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off", *requirements]
    return subprocess.run([str(interpreter(Path(folder))), *pip], check=False).returncode  # noqa: S603 - the new one's


if __name__ == "__main__":
    sys.exit(main())
