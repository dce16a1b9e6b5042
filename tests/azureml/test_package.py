"""The code that a job runs."""

import subprocess
import sys
from pathlib import Path

from phi_runner.azureml.package import stage_code


def test_the_staged_code_runs_alone_without_azure_and_hydra(tmp_path: Path) -> None:
    folder = stage_code(tmp_path)
    program = (
        "import sys, phi_runner.remote as remote; print(remote.__file__); "
        "print([n for n in sys.modules if n.split('.')[0] in {'azure', 'hydra', 'torch', 'mlflow'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    where, heavy = done.stdout.splitlines()
    assert where == str(folder / "phi_runner" / "remote.py")
    assert heavy == "[]"


def test_the_same_code_is_staged_once(tmp_path: Path) -> None:
    folder = stage_code(tmp_path)
    before = (folder / "phi_runner" / "remote.py").stat().st_mtime_ns
    assert stage_code(tmp_path) == folder
    assert (folder / "phi_runner" / "remote.py").stat().st_mtime_ns == before
    assert [place.name for place in folder.parent.iterdir()] == [folder.name]
    assert not (folder / "phi_runner" / "azureml" / "emulator").exists()
    assert (folder / "phi_runner" / "model" / "phi3.jinja").is_file()
    assert (folder / "phi_runner" / "model" / "templates" / "phi4.jinja").is_file()
