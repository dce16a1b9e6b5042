"""Processes that share a training on this machine: how many, what they tell, and what is refused before they start."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from phi_runner import task
from phi_runner.compute import launcher, order, torchrun
from phi_runner.compute.told import Told, failed, writer
from phi_runner.config import compute_check, cuda
from phi_runner.config.schema import (
    AccountAzure,
    CpuCompute,
    DoraTrain,
    FullTrain,
    GpusCompute,
    RunConfig,
    SlurmCompute,
    StageName,
    Strategy,
    TrainConfig,
)
from phi_runner.errors import ConfigProblem, DataProblem, TrainFailed
from phi_runner.events import Event, Kind
from tests import runs


def config(compute: Any, *, train: TrainConfig | None = None) -> RunConfig:
    made = runs.config(StageName.train, outputs=Path("outputs"), train=train, azure=AccountAzure())
    made.compute = compute
    return made


def test_what_processes_tell_becomes_our_events(tmp_path: Path) -> None:
    rundir, heard = runs.rundir(tmp_path / "train", outputs=tmp_path)
    file = tmp_path / "told.log"
    told, write = Told(file=file, events=rundir.events), writer(file)
    told.take()
    write(task.event_line(Event(kind=Kind.progress, message="loss 1", values={"done": 1, "total": 2})) + "\n")
    write("a library's own line\n##phi_runner {half")
    told.take()
    told.take()
    assert [(event.kind, event.values) for event in heard.events] == [(Kind.progress, {"done": 1, "total": 2})]
    assert not failed(file)
    write(" a line\n" + task.failure_line("no rows", error="DataProblem") + "\n" + task.failure_line("later") + "\n")
    told.take()
    assert isinstance(told.failure, DataProblem)
    assert str(told.failure) == "no rows"
    assert failed(file)


@pytest.mark.parametrize("name", ["", "StageName", "nonsense"])
def test_an_error_of_no_class_of_ours_is_a_failed_training(tmp_path: Path, name: str) -> None:
    rundir, _heard = runs.rundir(tmp_path / "train", outputs=tmp_path)
    writer(tmp_path / "told.log")(task.failure_line("why", error=name) + "\n")
    told = Told(file=tmp_path / "told.log", events=rundir.events)
    told.take()
    assert type(told.failure) is TrainFailed


def test_the_last_words_name_the_cause_and_not_its_echo(tmp_path: Path) -> None:
    rundir, _heard = runs.rundir(tmp_path / "train", outputs=tmp_path)
    written = order.write(StageName.train, config(CpuCompute()), {}, rundir=rundir)
    assert str(order.lost(written, what="gone")) == f"gone: they said nothing (all of it: {written.log})"
    written.log.write_text(
        "[rank0]: Traceback (most recent call last):\n[rank0]: ValueError: bad\n"
        "[rank1]: RuntimeError: Connection closed by peer [127.0.0.1]:1\nexitcode 1\n"
    )
    assert written.last_words() == "ValueError: bad"


def test_what_an_earlier_try_has_left_is_not_taken_for_a_result(tmp_path: Path) -> None:
    rundir, _heard = runs.rundir(tmp_path / "train", outputs=tmp_path)
    written = order.write(StageName.train, config(CpuCompute()), {}, rundir=rundir)
    for file in (written.told, written.log, rundir.folder / "artifact.json"):
        file.write_text("old")
    written.begin_anew()
    assert not list(rundir.folder.iterdir())
    assert task.read(written.task).config.compute == CpuCompute()


def test_the_meeting_listens_on_loopback_alone() -> None:
    _given, worker = launcher._arguments(["--processes", "2", "--task", "x"])
    assert worker == ["--task", "x"]

    class Parameters:
        run_id = "1"

    meeting = launcher._on_loopback(Parameters())
    first, second = meeting.next_rendezvous(), meeting.next_rendezvous()
    ports = {info.bootstrap_store_info.master_port for info in (first, second)}
    assert len(ports) == 2  # processes that start again find nothing of the lost ones
    with socket.create_connection(("127.0.0.1", ports.pop()), timeout=5):
        pass
    if sys.platform == "linux":
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        places = {row[1] for row in listening if row[3] == "0A"}
        assert all(f"0100007F:{info.bootstrap_store_info.master_port:04X}" in places for info in (first, second))


@pytest.mark.parametrize(
    ("there", "rows", "used"), [(4, 8, 4), (3, 8, 2), (8, 6, 6), (1, 5, 1), (0, 5, 1)]
)  # fmt: skip
def test_as_many_devices_as_a_step_divides_among(
    there: int, rows: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_found", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said: list[str] = []
    asked = config(GpusCompute(), train=FullTrain(**runs.train_values(batch_size=rows)))
    assert torchrun.count(asked, say=said.append) == used
    assert bool(said) == (used < there)


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 4), ("", 0), ("0,2", 2), ("-1", 0), ("3,9,1", 1), ("GPU-abc", 1), ("NoDevFiles", 1)]
)
def test_devices_are_those_that_cuda_would_show(
    visible: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_found", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cuda.devices() == count


def test_a_single_row_cannot_be_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_found", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ConfigProblem, match="type compute=gpu"):
        torchrun.count(config(GpusCompute(), train=FullTrain(**runs.train_values(batch_size=1))), say=print)


@pytest.mark.parametrize(
    ("compute", "train", "told"),
    [
        (GpusCompute(processes=2), None, "compute=gpus: this machine has no CUDA device: type compute=cpu compute.pr"),
        (CpuCompute(processes=3), None, "type train.batch_size=9, or compute.processes=2"),
        (CpuCompute(processes=0), None, "compute.processes=0 is out of range"),
        (CpuCompute(strategy=Strategy.fsdp), None, "there is one: type compute.strategy=ddp"),
        (CpuCompute(processes=2, strategy=Strategy.deepspeed), None, "needs CUDA: type compute.strategy=fsdp"),
        (GpusCompute(strategy=Strategy.deepspeed), None, "type pip install 'phi-runner[deepspeed]'"),
        (CpuCompute(processes=2, strategy=Strategy.fsdp), DoraTrain, "what train=dora keeps: type train=lora"),
        (SlurmCompute(executor="pbs"), None, "type compute.executor=slurm"),
        (SlurmCompute(executor="local", nodes=2), None, "type compute.nodes=1"),
        (SlurmCompute(executor="local", extra={"time": 3}), None, "compute.extra.time follows from"),
    ],
)
def test_what_processes_would_stumble_over_is_said_before(
    compute: Any, train: type[TrainConfig] | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_found", lambda: 0)
    asked = config(compute, train=train(**runs.train_values()) if train else None)
    assert any(told in problem for problem in compute_check.problems(asked)), list(compute_check.problems(asked))


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_found", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (told,) = compute_check.problems(config(GpusCompute(processes=4)))
    assert told.endswith("more than the 2 CUDA device(s) here: type compute.processes=2")


def test_two_processes_on_a_processor_are_nothing_special() -> None:
    assert list(compute_check.problems(config(CpuCompute(processes=2, strategy=Strategy.fsdp)))) == []
