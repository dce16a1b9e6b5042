"""Stage teardown: it stops what runs, says so, and forgets the keys of what it stopped."""

import os
from pathlib import Path

import pytest

from phi_runner import processes
from phi_runner.config.schema import RunConfig
from phi_runner.deploy import keys
from phi_runner.processes import Running
from phi_runner.stages import teardown
from phi_runner.stages.stage import Inputs, RunDir
from tests.deploy.rig import Heard

SLEEPER = "import time; time.sleep(60)"


def start(folder: Path, *, kind: str, name: str) -> Running:
    """Start a process that does nothing and write it down as a server."""
    child = processes.start("sleeper", [], log=folder / "log", detach=True)
    running = Running(
        name=name, kind=kind, pid=child.pid, created=processes.created(child.pid), url=f"http://{name}", log="",
        detached=True,
    )  # fmt: skip
    processes.write_down(running, outputs=folder)
    return running


def tear_down(folder: Path) -> Heard:
    """Run the stage and return what it said."""
    heard = Heard()
    rundir = RunDir(folder=folder, outputs=folder, key="", events=heard.events)
    assert teardown.STAGE.run(RunConfig(), Inputs({}, {}), rundir) is None
    return heard


def test_everything_is_stopped_and_told_pages_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    started = [start(tmp_path, kind=kind, name=name) for kind, name in (("endpoint", "model"), ("flow", "page"))]
    for name in ("model", "page", "other"):
        keys.ensure(keys.file_of(name, outputs=tmp_path))

    heard = tear_down(tmp_path)

    assert not any(running.alive() for running in started)
    assert [line.split(" (pid")[0] for line in heard.lines] == [
        "stopped flow page at http://page",
        "stopped endpoint model at http://model",
    ]
    assert {file.name for file in (tmp_path / "keys").iterdir()} == {"page.key", "other.key"}


def test_nothing_running_is_said(tmp_path: Path) -> None:
    assert tear_down(tmp_path).text.startswith(f"nothing runs for {tmp_path}")
