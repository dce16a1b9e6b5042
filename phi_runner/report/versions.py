"""`versions.json` of a run folder: with what a run was made, enough to make it again and to say what has changed."""

import os
import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from phi_runner import __version__
from phi_runner.config.rebuild import kinds_of
from phi_runner.config.schema import CpuCompute, RunConfig
from phi_runner.machine import cores

FORMAT = 1
_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTHONHASHSEED",
)  # fmt: skip
"""Variables that change in which order numbers are added, or on what."""
_DIST = re.compile(r"(?P<name>[A-Za-z0-9_.]+?)-(?P<version>[0-9][^-]*)\.(?:dist-info|egg-info)")


def collect(config: RunConfig) -> dict[str, Any]:
    """Return the versions, the machine and the choices of a run that begins; reads folder names, imports nothing."""
    return {
        "format": FORMAT,
        "phi_runner": __version__,
        "checkout": checkout(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "machine": machine(),
        "threads": threads(config),
        "environment": {name: os.environ[name] for name in _THREADS if name in os.environ},
        "seed": config.seed,
        "kinds": kinds_of(config),
        "folder": str(Path.cwd()),
        "distributions": distributions(),
    }


def threads(config: RunConfig) -> int:
    """Return how many threads multiply matrices in each process; 0 where the processor does not decide."""
    compute = config.compute
    return (compute.threads or max(1, cores() // max(compute.processes, 1))) if isinstance(compute, CpuCompute) else 0


@cache
def distributions() -> dict[str, str]:
    """Return name and version of everything that is installed, by the names of its folders: 5 ms instead of 500."""
    found: dict[str, str] = {}
    for place in reversed([entry for entry in sys.path if os.path.isdir(entry)]):
        for name in os.listdir(place):
            if told := _DIST.fullmatch(name):
                found[told["name"].replace("_", "-").lower()] = told["version"]
    return dict(sorted(found.items()))


@cache
def machine() -> dict[str, Any]:
    """Return what numbers may depend on: the processor, its cores, the devices, the system."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "devices": _devices(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _devices() -> list[str]:
    """Return the models of NVIDIA's devices, as the driver tells them in files."""
    found = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = file.read_text(encoding="ascii", errors="ignore").splitlines()
        except OSError:
            continue
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found


def checkout(root: Path) -> str:
    """Return the commit of the source tree that the program runs from, read from git's own files; nothing elsewhere."""
    place = root / ".git"
    try:
        if place.is_file():  # a worktree names its folder
            place = (root / place.read_text(encoding="utf-8").partition("gitdir:")[2].strip()).resolve()
        head = (place / "HEAD").read_text(encoding="utf-8").strip()
        return _commit(place, head.partition("ref: ")[2]) if head.startswith("ref: ") else head
    except OSError:
        return ""


def _commit(place: Path, ref: str) -> str:
    common = place / "commondir"
    shared = (place / common.read_text(encoding="utf-8").strip()) if common.is_file() else place
    for file in (place / ref, shared / ref):
        if file.is_file():
            return file.read_text(encoding="utf-8").strip()
    packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {ref}")), "")
