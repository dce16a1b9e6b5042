"""A stage as a job of Slurm: submitted once, followed by whoever comes next, told in our words when it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from phi_runner import artifacts, task
from phi_runner.artifacts import Scorecard
from phi_runner.compute import job, order, queue, slurm
from phi_runner.compute.queue import Job
from phi_runner.compute.told import writer
from phi_runner.config import compute_check
from phi_runner.config.schema import AccountAzure, RunConfig, SlurmCompute, StageName
from phi_runner.errors import DataProblem, RemoteFailed, TrainFailed
from tests import runs
from tests.e2e import cli

_COMMANDS = {
    "squeue": """#!/bin/sh
echo "$0 $*" >> CALLS
case "$*" in *--name*) cat NAMED 2>/dev/null; exit 0;; esac
if [ -f SILENT ]; then echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; fi
if [ ! -f STATE ]; then echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; fi
cat STATE
""",
    "scancel": """#!/bin/sh
echo "$0 $*" >> CALLS
""",
    "srun": """#!/bin/sh
exit 1
""",
    "sbatch": """#!/bin/sh
echo "$0 $*" >> CALLS
cp "$1" SCRIPT
if [ -f REFUSED ]; then echo "sbatch: error: invalid partition specified: none" >&2; exit 1; fi
echo "Submitted batch job 4711"
""",
}  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands as scripts that read what a test has put beside them."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, script in _COMMANDS.items():
        for place in ("CALLS", "NAMED", "SILENT", "STATE", "SCRIPT", "REFUSED"):
            script = script.replace(place, str(folder / place))
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_LOOK_S", {"slurm": 0.02, "local": 0.02})
    return folder


def config(**changes: Any) -> RunConfig:
    made = runs.config(StageName.train, outputs=Path("outputs"), azure=AccountAzure())
    made.compute = SlurmCompute(**changes)
    return made


def test_a_node_gets_one_task_and_the_job_what_the_config_says() -> None:
    compute = SlurmCompute(
        nodes=2, processes_per_node=4, partition="gpu", account="a", time_min=90, memory_gib=64,
        extra={"qos": "high", "mail-type": "END"},
    )  # fmt: skip
    told = slurm._parameters(compute, name="n", nodes=2, count=4)
    assert told == {
        "job_name": "n", "time": 90, "nodes": 2, "ntasks_per_node": 1, "cpus_per_task": 32, "signal_delay_s": 120,
        "gpus_per_node": 4, "mem": "64GB", "partition": "gpu", "account": "a",
        "additional_parameters": {"requeue": True, "qos": "high", "mail_type": "END"},
    }  # fmt: skip
    own = slurm._parameters(replace(compute, extra={"gres": "gpu:a100:4"}), name="n", nodes=2, count=4)
    assert "gpus_per_node" not in own
    assert "gpus_per_node" not in slurm._parameters(replace(compute, gpu=False), name="n", nodes=2, count=4)


def test_states_are_slurms_own_words_and_a_forgotten_job_has_ended(cluster: Path) -> None:
    known = Job(id="7", executor="slurm", created=0.0)
    assert known.state() == "ended"
    for word, told in {"PENDING": "pending", "RUNNING": "running", "CANCELLED": "ended", "": "ended"}.items():
        (cluster / "STATE").write_text(word + "\n")
        assert known.state() == told
    (cluster / "SILENT").touch()
    with pytest.raises(RemoteFailed, match=r"squeue failed: .* Unable to contact slurm controller"):
        known.state()


def test_a_process_is_the_job_only_while_it_is_the_same_one() -> None:
    me = psutil.Process()
    mine = Job(id=str(me.pid), executor="local", created=me.create_time())
    assert not mine.ended()
    assert mine.how_to_stop == f"kill -INT {me.pid}"
    assert replace(mine, created=1.0).ended()
    assert replace(mine, id="999999999").ended()


def test_a_job_is_submitted_with_its_record(cluster: Path, tmp_path: Path) -> None:
    rundir, heard = runs.rundir(tmp_path / "train", outputs=tmp_path)
    (cluster / "NAMED").write_text("12\n")
    written = order.write(StageName.train, config(), {}, rundir=rundir)
    told = slurm._told_job(written, config(partition="gpu"), stage=StageName.train, shape=(1, 2), key=rundir.key)
    made = slurm._submit(told, record=rundir.scratch / "job.json", rundir=rundir)
    assert made == Job(id="4711", executor="slurm", created=0.0) == queue.read(rundir.scratch / "job.json")
    assert f"{cluster / 'scancel'} 12" in (cluster / "CALLS").read_text().splitlines()
    script = (cluster / "SCRIPT").read_text()
    assert "#SBATCH --partition=gpu" in script
    assert "#SBATCH --requeue" in script
    assert "#SBATCH --job-name=phi_runner-train-kkkkkkkkkkkk" in script
    assert "submitted job 4711" in heard.text()
    (cluster / "REFUSED").touch()
    with pytest.raises(RemoteFailed, match=r"Slurm did not take the job: .*invalid partition"):
        slurm._submit(told, record=rundir.scratch / "job.json", rundir=rundir)


def card(folder: Path) -> Scorecard:
    made = Scorecard(
        folder=folder, rows=1, loss_before=2.0, loss_after=1.0, perplexity_before=7.4, perplexity_after=2.7, prompts=0,
        exact_before=None, exact_after=None,
    )  # fmt: skip
    artifacts.save(made)
    return made


@pytest.fixture
def followed(cluster: Path, tmp_path: Path) -> Iterator[Any]:
    """A job that an earlier run has left, still running, and the call that follows it."""
    rundir, heard = runs.rundir(tmp_path / "evaluate", outputs=tmp_path, stage="evaluate")
    rundir.scratch.mkdir()
    queue.write(Job(id="7", executor="slurm", created=0.0), file=rundir.scratch / "job.json")
    (cluster / "STATE").write_text("RUNNING\n")
    told = rundir.scratch / "told.log"

    def follow(then: str) -> tuple[Scorecard, str]:
        script = f"import time, pathlib; time.sleep(0.3); {then}; pathlib.Path({str(cluster / 'STATE')!r}).unlink()"
        ending = subprocess.Popen([sys.executable, "-c", script])
        try:
            found = slurm._perform(StageName.evaluate, config(), {}, Scorecard, shape=(1, 1), rundir=rundir)
        finally:
            ending.wait()
        return found, heard.text()

    follow.rundir, follow.told = rundir, told  # type: ignore[attr-defined]
    return iter([follow]).__next__()


def test_a_job_that_still_runs_is_followed_and_not_submitted_again(followed: Any, cluster: Path) -> None:
    made = card(followed.rundir.folder)
    found, heard = followed("pass")
    assert found == made
    assert "job 7 of an earlier run running: follows it" in heard
    assert "sbatch" not in (cluster / "CALLS").read_text()


def test_a_failure_on_a_node_keeps_its_class(followed: Any) -> None:
    writer(followed.told)(task.failure_line("no held-out row", error="DataProblem") + "\n")
    with pytest.raises(DataProblem, match=r"^no held-out row$"):
        followed("pass")


def test_a_job_without_a_result_is_told_with_its_log(followed: Any) -> None:
    (followed.rundir.scratch / "processes.log").write_text("[rank0]: torch.OutOfMemoryError: CUDA out of memory\n")
    with pytest.raises(TrainFailed, match=r"job 7 has ended without a result; .*: torch.OutOfMemoryError"):
        followed("pass")


def test_what_a_job_has_left_while_nobody_looked_is_taken(followed: Any, cluster: Path) -> None:
    made = card(followed.rundir.folder)
    (cluster / "STATE").unlink()
    found = slurm._perform(StageName.evaluate, config(), {}, Scorecard, shape=(1, 1), rundir=followed.rundir)
    assert found == made


def test_a_cluster_is_asked_for_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (told,) = compute_check.problems(config())
    assert told.startswith("compute=slurm: there is no sbatch on this machine: type the same on a login node")
    assert list(compute_check.problems(config(executor="local"))) == []


def test_a_job_that_is_warned_lets_its_processes_save_and_can_go_on(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    made = job.NodeJob(processes=1, nodes=1, restarts=0, name="n", words=[], log=str(tmp_path / "log"), variables={})
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    made._child = sleeping.pid
    again = made.checkpoint()
    sleeping.wait(timeout=10)
    assert not psutil.pid_exists(sleeping.pid)
    assert again.function is made


_HERE = [
    "compute=slurm", "compute.executor=local", "compute.gpu=false", "compute.processes_per_node=2",
    "compute.cpus_per_process=1", "train.save_steps=3",
]  # fmt: skip


def arguments(folder: Path) -> list[str]:
    small = [word for word in cli.SMALL if not word.startswith("compute.")]
    data = [f"data.train_file={runs.facts_file(folder)}", "train.packing=false"]
    return ["stages=[data,train,evaluate]", "data=jsonl", *data, *small, "train.epochs=12", *_HERE]


def record(folder: Path) -> dict[str, Any]:
    return next(
        (json.loads(file.read_text()) for file in folder.glob("outputs/store/train/.*.scratch/job.json")), {}
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_leaves_its_job_and_the_next_one_follows_it(tmp_path: Path) -> None:
    typed = arguments(tmp_path)
    process = cli.start(tmp_path, *typed)
    while not list(tmp_path.glob("outputs/store/train/.*.scratch/checkpoints/checkpoint-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = psutil.Process(int(record(tmp_path)["id"]))
    assert left.is_running()
    told = cli.run(tmp_path, *typed)
    assert f"job {left.pid} of an earlier run" in told
    assert "submitted job" in told  # that of evaluate, and no other
    assert told.count("submitted job") == 1
    _gone, alive = psutil.wait_procs([left], timeout=60)
    assert alive == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_whose_time_is_over_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    process = cli.start(tmp_path, *arguments(tmp_path))
    while not list(tmp_path.glob("outputs/store/train/.*.scratch/checkpoints/checkpoint-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    (job_process,) = psutil.Process(int(record(tmp_path)["id"])).children()
    job_process.send_signal(signal.SIGUSR2)  # as Slurm warns before it takes a node away
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "continues from step" in out
