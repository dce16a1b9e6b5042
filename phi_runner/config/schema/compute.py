"""Where training and evaluation run."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, ClassVar

from omegaconf import MISSING


class Strategy(StrEnum):
    """How several processes share the work of a step."""

    ddp = auto()
    """Every process holds the whole model and meets the others' gradients."""
    fsdp = auto()
    """Weights, gradients and optimiser state are divided among the processes (PyTorch's FSDP2)."""
    deepspeed = auto()
    """The same by DeepSpeed's ZeRO, an extra to install."""


@dataclass(kw_only=True, slots=True)
class ComputeConfig:
    """Where training and evaluation run."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class CpuCompute(ComputeConfig):
    """This machine's processor."""

    kind: ClassVar[str] = "cpu"
    threads: int = 0
    """Threads for matrix work of each process; 0: the cores divided by the processes."""
    processes: int = 1
    """Processes that share the work of a step; the step stays the same."""
    strategy: Strategy = Strategy.ddp
    """How the processes share a step."""
    restarts: int = 0
    """How often a training of several processes is started again from its checkpoint when one of them is lost."""


@dataclass(kw_only=True, slots=True)
class GpuCompute(ComputeConfig):
    """One CUDA device of this machine."""

    kind: ClassVar[str] = "gpu"
    device: int = 0
    """CUDA device number."""


@dataclass(kw_only=True, slots=True)
class GpusCompute(ComputeConfig):
    """Several CUDA devices of this machine, one process each, started by torchrun."""

    kind: ClassVar[str] = "gpus"
    processes: int = 0
    """How many devices; 0: all that are there."""
    strategy: Strategy = Strategy.ddp
    """How the processes share a step."""
    restarts: int = 3
    """How often training is started again from its checkpoint when a process is lost."""


@dataclass(kw_only=True, slots=True)
class SlurmCompute(ComputeConfig):
    """Nodes of a Slurm cluster, through submitit; needs a file system that the nodes and this machine share."""

    kind: ClassVar[str] = "slurm"
    nodes: int = 1
    """Machines that share a step."""
    processes_per_node: int = 1
    """One for each device of a node."""
    gpu: bool = True
    """Ask for one device a process and compute on it; false: on the nodes' processors."""
    strategy: Strategy = Strategy.ddp
    """How the processes share a step."""
    partition: str = ""
    """Slurm's partition; empty: the cluster's default."""
    account: str = ""
    """Slurm's account that is charged; empty: your default."""
    time_min: int = 1440
    """The job's time limit; a job that reaches it, or is taken away, is queued again and goes on."""
    cpus_per_process: int = 8
    """Cores of each process."""
    memory_gib: int = 0
    """Memory of a node; 0: the cluster's default."""
    restarts: int = 3
    """How often the job is queued again from its checkpoint when a node is lost or its time is over."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other sbatch option by its own name: `+compute.extra.qos=high`."""
    executor: str = "slurm"
    """submitit's executor; `local` starts the very same job on this machine, to try it."""


@dataclass(kw_only=True, slots=True)
class AzureCompute(ComputeConfig):
    """A cluster of the Azure workspace: `train` and `evaluate` run there as command jobs."""

    kind: ClassVar[str] = "azure"
    cluster: str = MISSING
    """Name of the compute cluster; made when it is missing."""
    vm_size: str = MISSING
    """Azure's name for the size of a node."""
    image: str = MISSING
    """Docker image below the generated conda environment."""
    gpu: bool = False
    """Compute on the node's CUDA devices."""
    environment: str = "phi-3-training-environment"
    """Name of the job's environment (the tutorials')."""
    min_nodes: int = 0
    """Nodes that always run and bill (the tutorials' 0)."""
    max_nodes: int = 1
    """Nodes that may run at a time."""
    idle_s: int = 120
    """Idle time after which a node is given back (the tutorials')."""
    low_priority: bool = False
    """Cheaper nodes that may be taken away; the job then starts again and continues from its checkpoint."""
