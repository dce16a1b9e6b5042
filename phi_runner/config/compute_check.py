"""What stands between a config and the processes that would share a training, found before anything is loaded."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from phi_runner.config import cuda
from phi_runner.config.schema import (
    AzureCompute,
    CpuCompute,
    DoraTrain,
    DpoTrain,
    GpuCompute,
    GpusCompute,
    QloraTrain,
    RunConfig,
    SlurmCompute,
    StageName,
    Strategy,
)

_COMPUTING = {StageName.train, StageName.evaluate}
_EXECUTORS = ("slurm", "local")
_OF_THE_JOB = {"job_name", "array", "nodes", "ntasks_per_node", "gpus_per_node", "cpus_per_task", "mem", "time"}
"""sbatch options that follow from the config's own fields."""


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each thing that the chosen processes would stumble over."""
    if not _COMPUTING & set(config.stages):
        return
    yield from _devices(config)
    if isinstance(config.compute, SlurmCompute):
        yield from _slurm(config.compute)
    if StageName.train in config.stages:
        yield from _rows(config)
        yield from _strategy(config)


def processes(config: RunConfig) -> int:
    """Return how many processes will share a training, as far as the config tells; 0: as many as there are devices."""
    match config.compute:
        case CpuCompute() | GpusCompute():
            return config.compute.processes
        case SlurmCompute():
            return config.compute.nodes * config.compute.processes_per_node
        case AzureCompute():
            return config.azure.nodes * config.azure.processes_per_node
        case _:
            return 1


def _devices(config: RunConfig) -> Iterator[str]:
    compute = config.compute
    if isinstance(compute, CpuCompute) and compute.processes < 1:
        yield f"compute.processes={compute.processes} is out of range, at least 1: type compute.processes=1"
    if not isinstance(compute, GpuCompute | GpusCompute):
        return
    there = cuda.devices()
    if there == 0:
        count = processes(config)
        instead = f"compute=cpu compute.processes={count}" if count > 1 else "compute=cpu"
        yield f"compute={compute.kind}: this machine has no CUDA device: type {instead}"
    elif isinstance(compute, GpusCompute) and compute.processes > there:
        yield (
            f"compute.processes={compute.processes} is more than the {there} CUDA device(s) here: "
            f"type compute.processes={there}"
        )


def _rows(config: RunConfig) -> Iterator[str]:
    """A step is the same however many processes share it, so its rows have to be divisible."""
    rows, count = config.train.batch_size * config.train.accumulation_steps, processes(config)
    if count < 2 or rows < 1 or rows % count == 0:
        return
    key = "compute.processes" if isinstance(config.compute, CpuCompute | GpusCompute) else "the processes"
    size = -(-config.train.batch_size // count) * count
    fitting = max(number for number in range(1, count) if rows % number == 0)
    fewer = f", or compute.processes={fitting}" if isinstance(config.compute, CpuCompute | GpusCompute) else ""
    yield (
        f"{key}={count}: a step of {rows} rows (train.batch_size x train.accumulation_steps) cannot be divided among "
        f"them: type train.batch_size={size}{fewer}"
    )


def _strategy(config: RunConfig) -> Iterator[str]:
    compute = config.compute
    if not isinstance(compute, CpuCompute | GpusCompute | SlurmCompute) or compute.strategy is Strategy.ddp:
        return
    asked = f"compute.strategy={compute.strategy}"
    if processes(config) == 1:
        yield f"{asked} divides a model among processes, and there is one: type compute.strategy=ddp"
    if compute.strategy is Strategy.deepspeed:
        if isinstance(compute, CpuCompute) or (isinstance(compute, SlurmCompute) and not compute.gpu):
            yield f"{asked} needs CUDA: type compute.strategy=fsdp, which divides the model on processors too"
        elif find_spec("deepspeed") is None:
            yield (
                f"{asked} needs deepspeed, not installed: type pip install 'phi-runner[deepspeed]', or "
                "compute.strategy=fsdp, which needs nothing more"
            )
    if isinstance(config.train, QloraTrain | DoraTrain):
        yield (
            f"{asked} cannot divide what train={config.train.kind} keeps: type train=lora, or compute.strategy=ddp, "
            "where every process holds the base"
        )
    if isinstance(config.train, DpoTrain):
        yield f"{asked} cannot divide a model and its reference at once: type compute.strategy=ddp"


def _slurm(compute: SlurmCompute) -> Iterator[str]:
    if compute.executor not in _EXECUTORS:
        yield f"compute.executor={compute.executor} is neither slurm nor local: type compute.executor=slurm"
    if find_spec("submitit") is None:
        yield "compute=slurm needs submitit, not installed: type pip install 'phi-runner[slurm]'"
    elif compute.executor == "slurm" and shutil.which("sbatch") is None:
        yield (
            "compute=slurm: there is no sbatch on this machine: type the same on a login node of the cluster, or "
            "compute.executor=local to try the job here"
        )
    if compute.executor == "local" and compute.nodes > 1:
        yield f"compute.nodes={compute.nodes}: compute.executor=local has this machine alone: type compute.nodes=1"
    for name in sorted({name.replace("-", "_") for name in compute.extra} & _OF_THE_JOB):
        yield f"compute.extra.{name} follows from the other fields of compute: leave it out"


def warnings(config: RunConfig) -> list[str]:
    """Return what a person should know of the processes before the run, though nothing is wrong."""
    if isinstance(config.compute, SlurmCompute) and config.compute.executor == "slurm":
        return [f"compute=slurm: the nodes must see outputs={config.outputs} at the same path as this machine"]
    return []
