"""What a run computes on: this machine, a node of a cluster, a size of Azure; asked without loading torch."""

from dataclasses import dataclass

from phi_runner import machine
from phi_runner.config import clouds, vm_sizes
from phi_runner.config.schema import (
    AzureCompute,
    CatalogTrain,
    CpuCompute,
    GpuCompute,
    GpusCompute,
    Precision,
    RunConfig,
    SlurmCompute,
    Strategy,
)
from phi_runner.config.vm_sizes import VmSize
from phi_runner.plan.bands import Band, Figure, Missing

_WITHOUT_BF16 = ("V100", "T4", "P100", "K80", "P4", "M60")
"""GPUs older than Ampere: PyTorch only emulates bf16 on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One machine's part in a training."""

    name: str
    cuda: bool
    bf16: bool
    """What matrices are multiplied in."""
    cores: int
    gpu: str
    """Name of its GPU; empty: a processor, or one that is not known."""
    processes: int
    """On one machine."""
    world: int
    """On all machines together."""
    strategy: Strategy
    available: Figure
    """GiB for one process, or on one device."""
    here: bool
    """It is this machine."""
    size: VmSize | None = None


def place_of(config: RunConfig) -> Place | Missing:
    """Return what a run's training computes on."""
    compute = config.compute
    if isinstance(config.train, CatalogTrain):
        return _catalog(config.train)
    match compute:
        case CpuCompute():
            return _processor(config, processes=max(1, compute.processes), strategy=compute.strategy)
        case GpuCompute():
            return _gpus(config, processes=1, strategy=Strategy.ddp)
        case GpusCompute():
            return _gpus(config, processes=compute.processes or machine.here().gpus, strategy=compute.strategy)
        case SlurmCompute():
            return _slurm(config, compute)
        case AzureCompute():
            return _azure(config, compute)
        case _:
            return Missing(what=f"what compute={compute.kind} computes on")


def _processor(config: RunConfig, *, processes: int, strategy: Strategy) -> Place:
    here = machine.here()
    free = machine.memory_gib() / processes
    return Place(
        name="cpu", cuda=False, bf16=_bf16(config, fast=here.fast_bf16), cores=here.cores, gpu="", processes=processes,
        world=processes, strategy=strategy, available=_exactly(free, "free on this machine now"), here=True,
    )  # fmt: skip


def _gpus(config: RunConfig, *, processes: int, strategy: Strategy) -> Place:
    here = machine.here()
    free: Figure = Missing(what="the memory of this machine's GPU: there is no nvidia-smi to ask")
    if here.gpu:
        free = _exactly(here.gpu_gib, f"{here.gpu}, as nvidia-smi says")
    return Place(
        name=here.gpu or "cuda", cuda=True, bf16=_bf16(config, fast=_ampere(here.gpu)), cores=here.cores, gpu=here.gpu,
        processes=max(1, processes), world=max(1, processes), strategy=strategy, available=free, here=True,
    )  # fmt: skip


def _slurm(config: RunConfig, compute: SlurmCompute) -> Place:
    free: Figure = Missing(what="the memory of a Slurm node's GPU: the cluster is not asked")
    if not compute.gpu:
        free = Missing(what="the memory of a Slurm node: type compute.memory_gib=N")
        if compute.memory_gib:
            free = _exactly(compute.memory_gib / compute.processes_per_node, "compute.memory_gib")
    return Place(
        name="a node's GPU" if compute.gpu else "a node's processor", cuda=compute.gpu,
        bf16=_bf16(config, fast=compute.gpu), cores=compute.cpus_per_process * compute.processes_per_node, gpu="",
        processes=compute.processes_per_node, world=compute.nodes * compute.processes_per_node,
        strategy=compute.strategy, available=free, here=False,
    )  # fmt: skip


def _azure(config: RunConfig, compute: AzureCompute) -> Place | Missing:
    if clouds.rehearses(config):  # the emulator runs the job on this machine's processor
        return _processor(config, processes=1, strategy=Strategy.ddp)
    size = vm_sizes.lookup(compute.vm_size)
    if size is None:
        return Missing(what=f"memory and speed of {compute.vm_size}: no size of that name is known")
    return on_size(config, size, cuda=compute.gpu and bool(size.gpus))


def on_size(config: RunConfig, size: VmSize, *, cuda: bool) -> Place:
    """Return a node of an Azure size."""
    processes, nodes = max(1, config.azure.processes_per_node), max(1, config.azure.nodes)
    gib = size.gpu_memory_gib if cuda else size.memory_gib / processes
    what = f"{size.gpus} x {size.gpu}" if cuda else f"{size.cores} cores"
    return Place(
        name=f"{size.name} ({what})", cuda=cuda, bf16=_bf16(config, fast=cuda and _ampere(size.gpu)), cores=size.cores,
        gpu=size.gpu if cuda else "", processes=processes, world=processes * nodes, strategy=Strategy.ddp,
        available=_exactly(gib, f"of {size.name}"), here=False, size=size,
    )  # fmt: skip


def _catalog(train: CatalogTrain) -> Place | Missing:
    known = [size for name in train.instance_types if (size := vm_sizes.lookup(name))]
    where = f" on {known[0].name}" if known else ""
    return Missing(what=f"the memory of the catalog's fine-tune{where}: Azure chooses its method")


def _bf16(config: RunConfig, *, fast: bool) -> bool:
    return fast if config.train.precision is Precision.auto else config.train.precision is Precision.bf16


def _ampere(gpu: str) -> bool:
    return not any(name in gpu.replace("-", " ").split() for name in _WITHOUT_BF16)


def _exactly(gib: float, source: str) -> Band:
    return Band(low=gib, likely=gib, high=gib, unit="GiB", source=source)
