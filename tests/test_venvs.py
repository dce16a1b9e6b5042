"""Environments of their own: made once, made again when they were not finished, and plain words when they cannot be."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from phi_runner import venvs
from phi_runner.events import Kind
from tests.data.listening import Listening

MAKER = """
import sys
from pathlib import Path
from phi_runner import venvs
from phi_runner.events import Events, StageEvents
print(venvs.ensure("tiny", requirements=sys.argv[2:], home=Path(sys.argv[1]), option="deploy.python",
                   events=StageEvents(Events(), "deploy")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A package of one module and one script, as a file that pip installs without a network."""
    file = tmp_path_factory.mktemp("wheels") / "tinypackage-1.0-py3-none-any.whl"
    info = "tinypackage-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tinypackage.py", "def main():\n    print('tiny says hello')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntiny = tinypackage:main\n")
        archive.writestr(f"{info}/RECORD", f"tinypackage.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return str(file)


def make(home: Path, *requirements: str) -> tuple[Path, Listening]:
    heard = Listening()
    python = venvs.ensure("tiny", requirements=requirements, home=home, option="deploy.python", events=heard.events)
    return python, heard


def imports(python: Path) -> str:
    asked = subprocess.run([python, "-c", "import tinypackage; tinypackage.main()"], capture_output=True, text=True)
    return asked.stdout + asked.stderr


def test_an_environment_is_made_once_and_again_only_when_it_was_moved(tmp_path: Path, wheel: str) -> None:
    python, heard = make(tmp_path / "environments", wheel)
    assert imports(python) == "tiny says hello\n"
    script = subprocess.run([python.with_name("tiny")], capture_output=True, text=True, check=True)
    assert script.stdout == "tiny says hello\n"
    said = heard.said(Kind.info)
    assert said[0].startswith("makes an environment for tiny in ")
    assert "once, it may take minutes" in said[0]
    assert said[1].startswith("the environment for tiny is made: ")
    again, quiet = make(tmp_path / "environments", wheel)
    assert again == python
    assert quiet.heard == []
    log = tmp_path / "logs" / f"environment-{python.parents[1].name}.log"
    assert "Successfully installed tinypackage-1.0" in log.read_text()
    os.rename(tmp_path / "environments", tmp_path / "moved")
    moved, heard = make(tmp_path / "moved", wheel)
    assert len(heard.said(Kind.info)) == 2
    assert str(tmp_path / "moved") in moved.with_name("tiny").read_text().splitlines()[0]


def test_what_pip_cannot_install_is_one_line_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(venvs.EnvironmentNotMade) as caught:
        make(tmp_path / "environments", str(tmp_path / "nothing-1.0-py3-none-any.whl"))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("the environment for tiny could not be made: ")
    assert "nothing-1.0-py3-none-any.whl" in said
    own = tmp_path / "environments" / "tiny"
    assert f"type python -m venv {own} && {own}/bin/python -m pip install " in said
    assert said.endswith(f"then deploy.python={own}/bin/python")


def test_a_folder_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        venvs.EnvironmentNotMade, match=r"cannot write .*/file/environments/tiny-.*; type outputs=FOLDER"
    ):
        make(tmp_path / "file" / "environments", "x")


def test_a_killed_run_takes_pip_along_and_of_the_next_two_one_makes_it_whole(tmp_path: Path, wheel: str) -> None:
    home, found = tmp_path / "environments", []
    with subprocess.Popen([sys.executable, "-c", MAKER, str(home), wheel]) as run:
        while not (family := psutil.Process(run.pid).children(recursive=True)) or not list(home.glob("tiny-*/bin/*")):
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    _gone, left = psutil.wait_procs(family, timeout=10)
    assert left == []
    others = [threading.Thread(target=lambda: found.append(make(home, wheel))) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    (one, first), (two, second) = found
    assert one == two
    assert imports(one) == "tiny says hello\n"
    told = first.said(Kind.info) + second.said(Kind.info)
    assert sum(line.startswith("makes an environment") for line in told) == 1
    assert sum(line.startswith("another run makes") for line in told) == 1
