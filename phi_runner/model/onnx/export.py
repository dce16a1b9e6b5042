"""Make a model's ONNX export once: content-addressed, whole or not there, shared by all runs."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from phi_runner import locks
from phi_runner.config.architectures import MODEL_TYPE
from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents
from phi_runner.model.onnx import agreement, facts
from phi_runner.model.onnx.agreement import Agreement

PROBLEM = "problem.txt"
"""What the exporting process could not do, in one line."""
_LIBRARIES = ("onnxruntime", "onnxruntime-genai", "onnx", "onnx-ir", "transformers", "tokenizers")
_MODULES = ("onnxruntime", "onnxruntime_genai", "onnx", "onnx_ir")
_FORM = 1
"""Grows when the same libraries make another export."""
_INSTEAD = "type deploy.engine=transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A whole export."""

    folder: Path
    agreement: Agreement


def ensure(model_folder: Path, *, precision: str, outputs: Path, events: StageEvents) -> Exported:
    """Return a model's export below `outputs/engines`, made now or earlier; raises DeployFailed.

    `model_folder` holds a plain Phi-3 in Hugging Face form, `precision` is `fp32` or `int4`. It is only returned when
    its answers have been compared with transformers'; in fp32 they are the same.
    """
    _check(model_folder)
    name = f"onnx-{precision}-{_key(model_folder)}"
    folder = outputs / "engines" / name
    lock = folder.with_name(f".{name}.lock")
    with locks.held(lock, on_wait=lambda: events.info("another run is exporting this model: waiting for it")):
        found = _whole(folder, events=events)
        if found is None:
            events.info(
                f"exporting the model to ONNX in {precision}, once: this takes about as long as loading it twice"
            )
            _make(model_folder, precision=precision, folder=folder)
            found = Exported(folder=folder, agreement=agreement.read(folder))
    events.info(f"ONNX export {name}, against transformers: {found.agreement}")
    return found


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide what an export is."""
    return {name: version(name) for name in _LIBRARIES}


def _check(model_folder: Path) -> None:
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise DeployFailed(
            f"deploy.engine=onnx needs {', '.join(missing)}: pip install 'phi-runner[onnx]', or {_INSTEAD}"
        )
    file = model_folder / "config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DeployFailed(f"{file} cannot be read, so {model_folder} is no model to export: register again") from err
    if kind != MODEL_TYPE:
        raise DeployFailed(
            f"{model_folder} is a model of type {kind}, and deploy.engine=onnx exports {MODEL_TYPE}: {_INSTEAD}"
        )


def _key(model_folder: Path) -> str:
    """Hash every file of the model, how it is exported, and by which libraries."""
    seen = hashlib.sha256(json.dumps([_FORM, versions()]).encode())
    for file in sorted(file for file in model_folder.iterdir() if file.is_file()):
        with file.open("rb") as stream:
            seen.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return seen.hexdigest()[:16]


def _whole(folder: Path, *, events: StageEvents) -> Exported | None:
    if not folder.is_dir():
        return None
    try:
        facts.read(folder)
        return Exported(folder=folder, agreement=agreement.read(folder))
    except (DeployFailed, OSError, ValueError, TypeError) as err:
        events.warn(f"an ONNX export is made anew: {err}")
        shutil.rmtree(folder)
        return None


def _make(model_folder: Path, *, precision: str, folder: Path) -> None:
    """Export aside and rename: a folder of that name is whole, however the process that makes it ends."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    log = folder.with_name(f"{folder.name}.log")
    command = [sys.executable, "-m", "phi_runner.model.onnx.build"]
    command += ["--model", str(model_folder.resolve()), "--precision", precision, "--into", str(aside)]
    with log.open("wb") as output:
        ended = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        why = _why(aside, log=log, code=ended.returncode)
        shutil.rmtree(aside, ignore_errors=True)
        raise DeployFailed(why)
    aside.rename(folder)


def _why(aside: Path, *, log: Path, code: int) -> str:
    problem = aside / PROBLEM
    if problem.is_file():
        return problem.read_text(encoding="utf-8")
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    ended = f"signal {-code}" if code < 0 else f"code {code}"
    return f"the ONNX export ended with {ended} ({last.strip()[:200]}), see {log}: {_INSTEAD}"
