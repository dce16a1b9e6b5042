"""An environment of its own for a peer, made once under a folder: torch for processors first, then the peer."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

_TORCH = "torch==2.13.0"
"""First and alone, so that a build for processors, where pip is shown one, is what the peer finds."""


class CannotInstall(Exception):
    """pip's line."""


class Needs(Protocol):
    """What an environment must hold; `Peer` says what each means."""

    @property
    def packages(self) -> tuple[str, ...]: ...

    @property
    def bare(self) -> tuple[str, ...]: ...

    @property
    def removed(self) -> tuple[str, ...]: ...

    @property
    def stubs(self) -> tuple[str, ...]: ...


def interpreter(peer: Needs, *, folder: Path, limit_s: float) -> Path:
    """Return the interpreter that has the peer; raises CannotInstall when it cannot be had within the limit."""
    if not peer.packages:
        return Path(sys.executable)
    place = folder / (*peer.bare, *peer.packages)[0].replace("==", "-")
    python, mark = place / "bin" / "python", place / "installed"
    if mark.is_file():
        return python
    if limit_s <= 0:
        raise CannotInstall("its environment is not made yet, and --quick makes none: run once without it")
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(place)], limit_s=limit_s)
        _pip(python, "install", _TORCH, limit_s=limit_s)
        torch = _run([str(python), "-m", "pip", "freeze"], limit_s=limit_s)
        pin = place / "constraints.txt"
        pin.write_text("\n".join(line for line in torch.splitlines() if line.startswith("torch==")), encoding="utf-8")
        _pip(python, "install", "--constraint", str(pin), *peer.packages, limit_s=limit_s)
        if peer.bare:
            _pip(python, "install", "--no-deps", *peer.bare, limit_s=limit_s)
        for package in peer.removed:
            _pip(python, "uninstall", "--yes", package, limit_s=limit_s)
    except subprocess.TimeoutExpired as err:
        raise CannotInstall(f"not installed within {limit_s:.0f} s") from err
    for module in peer.stubs:
        _stub(module, site=next((place / "lib").glob("python*")) / "site-packages")
    mark.touch()
    return python


def _stub(module: str, *, site: Path) -> None:
    (site / module).mkdir(exist_ok=True)
    (site / module / "__init__.py").write_text('"""Empty: nothing here needs it."""\n', encoding="utf-8")


def _pip(python: Path, *arguments: str, limit_s: float) -> None:
    _run([str(python), "-m", "pip", "--disable-pip-version-check", *arguments], limit_s=limit_s)


def _run(command: list[str], *, limit_s: float) -> str:
    # PIP_USER and the like of the caller must not send packages elsewhere
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PIP_USER"}}
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=environment, check=False)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        named = [line for line in said if line.startswith("ERROR")]
        raise CannotInstall((named or said or ["pip failed"])[0][:200])
    return done.stdout
