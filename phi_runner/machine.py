"""This machine, as far as a measurement depends on it: processor, cores, GPUs; asks the system and loads nothing."""

import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

_GIB = 2**30
_CPU_INFO = Path("/proc/cpuinfo")
_ASK_S = 5.0
_FAST_BF16 = {"avx512_bf16", "amx_bf16"}
"""Instructions with which a processor multiplies bf16 faster than fp32 (2.4 times, measured); it is slower without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What makes two machines equally fast."""

    processor: str
    cores: int
    """That this process may use."""
    gpu: str = ""
    """Name of the first CUDA device; empty: there is none."""
    gpus: int = 0
    gpu_gib: float = 0.0
    """Memory of the first one."""
    fast_bf16: bool = False
    """The processor multiplies bf16 faster than fp32."""
    avx512: bool = False
    """Its registers hold 16 numbers, not 8."""

    def told(self) -> dict[str, object]:
        """Return the same as JSON can hold it."""
        return asdict(self)

    def as_fast_as(self, other: dict[str, object], *, on_gpu: bool) -> bool:
        """Say whether what was measured on a machine, as `told` wrote it, holds here."""
        names = ("gpu",) if on_gpu else ("processor", "cores")
        return all(other.get(name) == getattr(self, name) for name in names)


@cache
def here() -> Machine:
    """Return this machine."""
    facts = _cpu_info()
    flags = set(facts.get("flags", "").split())
    gpus = _gpus()
    return Machine(
        processor=facts.get("model name", "") or os.uname().machine, cores=cores(),
        gpu=gpus[0][0] if gpus else "", gpus=len(gpus), gpu_gib=gpus[0][1] if gpus else 0.0,
        fast_bf16=bool(_FAST_BF16 & flags), avx512="avx512f" in flags,
    )  # fmt: skip


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Return the memory that is free now, for this process's container too."""
    return min(float(psutil.virtual_memory().available), _left_in_cgroup()) / _GIB


def _cpu_info() -> dict[str, str]:
    """Return the facts of the first processor, by the kernel's names."""
    try:
        text = _CPU_INFO.read_text(encoding="ascii", errors="ignore").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _colon, value in pairs}


def _gpus() -> list[tuple[str, float]]:
    """Return the name and the GiB of each CUDA device, as NVIDIA's own program tells them."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_ASK_S).stdout  # noqa: S603
        rows = [line.rpartition(",") for line in said.splitlines() if line.strip()]
        return [(name.strip(), float(mib) / 1024) for name, _comma, mib in rows]
    except (OSError, subprocess.SubprocessError, ValueError):  # no driver behind it
        return []


def _left_in_cgroup() -> float:
    """Return the bytes that the container still allows, which the machine's own figures do not show."""
    folder = Path("/sys/fs/cgroup")
    for most, used in (
        (folder / "memory.max", folder / "memory.current"),
        (folder / "memory/memory.limit_in_bytes", folder / "memory/memory.usage_in_bytes"),
    ):
        try:
            return float(int(most.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # no such version of cgroups, or "max"
            continue
    return float("inf")
