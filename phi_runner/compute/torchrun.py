"""Train in several processes of this machine: torchrun starts them, starts them again, and ends with the runner."""

import os
import subprocess
from collections.abc import Callable

from phi_runner import processes
from phi_runner.artifacts import Dataset, TrainedModel
from phi_runner.compute import order
from phi_runner.compute.order import Order
from phi_runner.compute.place import Place
from phi_runner.compute.told import Told
from phi_runner.config import cores, cuda
from phi_runner.config.schema import CpuCompute, GpusCompute, RunConfig, StageName
from phi_runner.errors import ConfigProblem, TrainFailed

_LAUNCHER = "phi_runner.compute.launcher"
_LOOK_S = 0.1
_GRACE_S = 60.0


def train(config: RunConfig, dataset: Dataset, *, count: int, rundir: Place) -> TrainedModel:
    """Train in `count` processes that share each step; raises whatever error of ours one of them tells first."""
    told = order.write(StageName.train, config, {StageName.data: dataset}, rundir=rundir)
    told.begin_anew()
    strategy, restarts = _settings(config)
    rundir.events.info(f"trains in {count} processes ({strategy}), each on its share of every step", processes=count)
    words = ["--processes", str(count), "--restarts", str(restarts), "--name", rundir.key[:12], *told.words()]
    child = processes.start(_LAUNCHER, words, log=told.log, detach=False, environment=variables(config, count=count))
    _follow(child, told, rundir=rundir)
    trained = told.result(TrainedModel)
    if trained is None:
        raise order.lost(told, what=f"the {count} processes of the training have ended, restarts: {restarts}")
    return trained


def _settings(config: RunConfig) -> tuple[str, int]:
    compute = config.compute
    if not isinstance(compute, CpuCompute | GpusCompute):
        raise TrainFailed(f"compute={compute.kind} has no several processes on this machine")
    return str(compute.strategy), compute.restarts


def count(config: RunConfig, *, say: Callable[[str], None]) -> int:
    """Return how many processes share a training here: those asked for, or as many as there are CUDA devices.

    Fewer when a step's rows do not divide among all devices, which is said.
    """
    compute = config.compute
    match compute:
        case CpuCompute():
            return compute.processes
        case GpusCompute() if compute.processes:
            return compute.processes
        case GpusCompute():
            rows, there = config.train.batch_size * config.train.accumulation_steps, max(1, cuda.devices())
            fitting = max(number for number in range(1, there + 1) if rows % number == 0)
            if fitting == 1 < there:
                raise ConfigProblem(
                    f"a step of {rows} row(s) cannot be divided among {there} devices: type compute=gpu"
                )
            if fitting < there:
                say(f"uses {fitting} of {there} devices: a step of {rows} rows cannot be divided among all of them")
            return fitting
        case _:
            return 1


def variables(config: RunConfig, *, count: int) -> dict[str, str]:
    """Return what the processes of one node are told before they start: their share of the cores, and loopback."""
    threads = config.compute.threads if isinstance(config.compute, CpuCompute) else 0
    share = max(1, cores.here() // count)
    loopback = "lo0" if os.uname().sysname == "Darwin" else "lo"
    return {
        "OMP_NUM_THREADS": str(threads or share),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }


def _follow(child: "subprocess.Popen[bytes]", told: Order, *, rundir: Place) -> None:
    """Tell what the processes tell until they have ended; none is left behind, however this ends."""
    heard = Told(file=told.told, events=rundir.events)
    try:
        ended = False
        while not ended and heard.failure is None:
            try:
                child.wait(timeout=_LOOK_S)
                ended = True
            except subprocess.TimeoutExpired:
                pass
            heard.take()
    finally:
        processes.stop(child.pid, grace_s=_GRACE_S)
        heard.take()  # the last words of those that were asked to stop: what they have saved
    if heard.failure:
        raise heard.failure
