"""The code that a job runs: this package, staged below `outputs` under the hash of its own bytes."""

import hashlib
import os
import shutil
from pathlib import Path

from phi_runner.errors import StoreProblem

_PACKAGE = Path(__file__).resolve().parents[1]
_LEFT_OUT = {"__pycache__", "emulator"}
_TEMPORARY = {".pyc", ".pyo"}
_ANSWERING = (
    "__init__.py", "azureml/__init__.py", "azureml/score/", "errors.py", "model/__init__.py", "model/answering.py",
    "model/engines/", "serve/", "template.py",
)  # fmt: skip
_ONLY_HERE = ("serve/engines.py", "serve/gateway/", "serve/upstream/")
"""What of `serve` answers on this machine alone: a change of it is none of the deployment in the cloud."""
SCORING_SCRIPT = "score.py"
"""Name of the scoring script, at the top of the staged folder."""


def _sources() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(_PACKAGE):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("."))
        found += [Path(folder) / name for name in sorted(names) if Path(name).suffix not in _TEMPORARY]
    return found


def stage_code(outputs: Path) -> Path:
    """Copy the package to where it is uploaded from and return that folder; the same code is copied once."""
    return _stage({file.relative_to(_PACKAGE.parent): file.read_bytes() for file in _sources()}, outputs=outputs)


def stage_scoring_code(outputs: Path) -> Path:
    """The same for what answers in a deployment: `score.py` beside the few modules that it needs."""
    files = {
        file.relative_to(_PACKAGE.parent): file.read_bytes()
        for file in _sources()
        if _answers(file.relative_to(_PACKAGE).as_posix())
    }
    files[Path(SCORING_SCRIPT)] = files.pop(Path("phi_runner/azureml/score") / SCORING_SCRIPT)
    return _stage(files, outputs=outputs)


def _answers(name: str) -> bool:
    return name.startswith(_ANSWERING) and not name.startswith(_ONLY_HERE) and not name.endswith("/__main__.py")


def _stage(files: dict[Path, bytes], *, outputs: Path) -> Path:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name.as_posix()} {len(content)}\n".encode())
        digest.update(content)
    folder = outputs / "azure" / "code" / digest.hexdigest()[:20]
    if folder.is_dir():
        return folder
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for name, content in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (aside / name).write_bytes(content)
        aside.rename(folder)
    except OSError as err:
        shutil.rmtree(aside, ignore_errors=True)
        if not folder.is_dir():  # another process may have put the same code there
            raise StoreProblem(f"cannot write {folder}: {err.strerror}; type outputs=FOLDER") from err
    return folder
