"""Train and measure in a job of a Slurm cluster, through submitit: submitted once, followed from any later run."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from phi_runner.artifacts import Artifact, Dataset, Scorecard, TrainedModel
from phi_runner.compute import order, queue
from phi_runner.compute.job import NodeJob
from phi_runner.compute.order import Order
from phi_runner.compute.place import Place
from phi_runner.compute.queue import Job
from phi_runner.compute.told import Told
from phi_runner.config.schema import RunConfig, SlurmCompute, StageName
from phi_runner.errors import ConfigProblem, RemoteFailed

_Kind = TypeVar("_Kind", bound=Artifact)
_RECORD = "job.json"
_SUBMITTING_S = 300.0
_LOOK_S = {"local": 0.2, "slurm": 5.0}
_PATIENCE_S = 900.0
"""How long Slurm may fail to answer before we stop watching; the job goes on."""
_WARNED_S = 120


def train(config: RunConfig, dataset: Dataset, *, rundir: Place) -> TrainedModel:
    """Train as a job of all nodes and processes that the config asks for."""
    compute = _compute(config)
    shape = (compute.nodes, compute.processes_per_node)
    return _perform(StageName.train, config, {StageName.data: dataset}, TrainedModel, shape=shape, rundir=rundir)


def evaluate(config: RunConfig, dataset: Dataset, trained: TrainedModel, *, rundir: Place) -> Scorecard:
    """Measure as a job of one process: it is short, and no answer depends on another."""
    inputs: dict[StageName, Artifact] = {StageName.data: dataset, StageName.train: trained}
    return _perform(StageName.evaluate, config, inputs, Scorecard, shape=(1, 1), rundir=rundir)


def _compute(config: RunConfig) -> SlurmCompute:
    if not isinstance(config.compute, SlurmCompute):
        raise ConfigProblem(f"compute={config.compute.kind} is no Slurm cluster")
    return config.compute


def _perform(
    stage: StageName, config: RunConfig, inputs: dict[StageName, Artifact], kind: type[_Kind], *,
    shape: tuple[int, int], rundir: Place,
) -> _Kind:  # fmt: skip
    told = order.write(stage, config, inputs, rundir=rundir)
    record = rundir.scratch / _RECORD
    known = queue.read(record)
    job = known if known and not known.ended() else None
    if job:
        rundir.events.info(f"job {job.id} of an earlier run {job.state()}: follows it", job=job.id)
    elif known and (made := told.result(kind)):
        rundir.events.info(f"job {known.id} of an earlier run has left the result", job=known.id)
        return made
    else:
        told.begin_anew()
        job = _submit(_told_job(told, config, stage=stage, shape=shape, key=rundir.key), record=record, rundir=rundir)
    return _outcome(job, told, kind, rundir=rundir)


def _outcome(job: Job, told: Order, kind: type[_Kind], *, rundir: Place) -> _Kind:
    heard = Told(file=told.told, events=rundir.events)
    try:
        _follow(job, heard, rundir=rundir)
    except KeyboardInterrupt:
        rundir.events.warn(
            f"job {job.id} goes on: type the same command to follow it again; to cancel it: {job.how_to_stop}"
        )
        raise
    if heard.failure:
        raise heard.failure
    made = told.result(kind)
    if made is None:
        raise order.lost(told, what=f"job {job.id} has ended without a result; the same command submits it again")
    return made


def _follow(job: Job, heard: Told, *, rundir: Place) -> None:
    """Tell what the job tells until it has ended; raises RemoteFailed when Slurm stays silent."""
    before, silent_since = "", 0.0
    while True:
        try:
            state, silent_since = job.state(), 0.0
        except RemoteFailed:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE_S:
                raise
            state = before
        heard.take()
        if state == "ended":
            return
        if state != before:
            rundir.events.info(f"job {job.id}: {state}")
        before = state
        time.sleep(_LOOK_S[job.executor])


def _told_job(told: Order, config: RunConfig, *, stage: StageName, shape: tuple[int, int], key: str) -> dict[str, Any]:
    compute, (nodes, count) = _compute(config), shape
    name = f"phi_runner-{stage}-{key[:12]}"
    job = NodeJob(
        processes=count, nodes=nodes, restarts=compute.restarts, name=name, words=told.words(), log=str(told.log),
        variables=_variables(compute, nodes=nodes, count=count),
    )  # fmt: skip
    folder = told.task.with_name("job")
    folder.mkdir(exist_ok=True)
    known = {name: value for name, value in asdict(job).items() if not name.startswith("_")}
    return {
        "executor": compute.executor, "folder": str(folder), "job": known,
        "parameters": _parameters(compute, name=name, nodes=nodes, count=count),
    }  # fmt: skip


def _variables(compute: SlurmCompute, *, nodes: int, count: int) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) // count if compute.executor == "local" else compute.cpus_per_process
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if nodes == 1 else {}
    return {"OMP_NUM_THREADS": str(max(1, min(cores, compute.cpus_per_process)))} | loopback


def _parameters(compute: SlurmCompute, *, name: str, nodes: int, count: int) -> dict[str, Any]:
    """Return what submitit's executor is told: one task a node, which starts the node's processes."""
    devices = count if compute.gpu else 0
    if compute.executor == "local":
        return {"timeout_min": compute.time_min, "gpus_per_node": devices, "signal_delay_s": _WARNED_S}
    found: dict[str, Any] = {
        "job_name": name, "time": compute.time_min, "nodes": nodes, "ntasks_per_node": 1,
        "cpus_per_task": compute.cpus_per_process * count, "signal_delay_s": _WARNED_S,
    }  # fmt: skip
    extra = {name.replace("-", "_"): value for name, value in compute.extra.items()}
    if devices and not {"gres", "gpus_per_task", "gpus"} & set(extra):
        found["gpus_per_node"] = devices
    if compute.memory_gib:
        found["mem"] = f"{compute.memory_gib}GB"
    for option in ("partition", "account"):
        if value := getattr(compute, option):
            found[option] = value
    return found | {"additional_parameters": {"requeue": True} | extra}


def _submit(told: dict[str, Any], *, record: Path, rundir: Place) -> Job:
    """Hand the job over and return it as it was written down; raises RemoteFailed."""
    if told["executor"] == "slurm":
        for stray in queue.named(told["parameters"]["job_name"]):  # its folder was cleared by force=[...]
            rundir.events.warn(f"job {stray.id} of an earlier run works for a result that is made anew: cancels it")
            queue.cancel(stray)
    file = record.with_name("submission.json")
    file.write_text(json.dumps(told | {"record": str(record)}, indent=1) + "\n", encoding="utf-8")
    record.unlink(missing_ok=True)
    said = file.with_suffix(".log")
    try:
        with said.open("wb") as errors:  # a file, for a pipe would stay open as long as a local job runs
            subprocess.run(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "phi_runner.compute.submit", str(file)], check=False, timeout=_SUBMITTING_S,
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip
    except subprocess.TimeoutExpired as err:
        raise RemoteFailed(f"sbatch gave no answer in {_SUBMITTING_S:.0f} s: look at squeue before you go on") from err
    job = queue.read(record)
    if job is None:
        lines = [line.strip() for line in said.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise RemoteFailed(f"Slurm did not take the job: {(lines or ['it gives no reason'])[-1][:400]}")
    rundir.events.info(f"submitted job {job.id}", job=job.id)
    return job
