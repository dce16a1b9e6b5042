"""Jobs that are submitted once whatever happens, attached to, followed, failed and fetched, with the real client."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phi_runner.azureml import environment, following, jobs
from phi_runner.azureml.names import job_name
from phi_runner.config.schema import AzureCompute
from phi_runner.errors import RemoteFailed
from phi_runner.events import Event, Kind
from phi_runner.ledger import Ledger
from phi_runner.task import event_line, failure_line
from tests import runs
from tests.azureml.workspace import Cloud, ready

pytestmark = pytest.mark.filterwarnings("ignore")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ready(tmp_path_factory.mktemp("jobs")) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A job that was asked for, and what was said about it."""

    wanted: jobs.Wanted
    heard: runs.Heard
    ledger: Ledger


@pytest.fixture
def asked(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Asked]]:
    outputs = Path(cloud.config.outputs)

    def ask(shell: str, *, key: str = "", anew: bool = False) -> Asked:
        from azure.ai.ml import Output, command

        key = key or f"{next(_numbers):064x}"[::-1]

        def make(name: str) -> Any:
            compute = cloud.config.compute
            assert isinstance(compute, AzureCompute)
            return command(
                name=name, command=shell, compute=compute.cluster, outputs={"summary": Output(type="uri_folder")},
                environment=environment.ensure_training(cloud.azure, compute=compute),
            )  # fmt: skip

        rundir, heard = runs.rundir(tmp_path / "work" / "k.partial", outputs=outputs, key=key)
        ledger = Ledger(outputs)
        wanted = jobs.Wanted(
            name=lambda attempt: job_name("train", key, retry=attempt), make=make, anew=anew, scratch=rundir.scratch,
            ledger=ledger, events=rundir.events,
        )  # fmt: skip
        return Asked(wanted=wanted, heard=heard, ledger=ledger)

    yield ask
    cloud.rig.admin("/clear", {})


def _carry(cloud: Cloud, asked: Asked) -> str:
    job = jobs.submit_or_attach(cloud.azure, asked.wanted)
    if not job.completed:
        following.follow(cloud.azure, job, events=asked.wanted.events)
    jobs.settle(cloud.azure, job.name, ledger=asked.ledger)
    return job.name


def test_a_job_that_runs_is_attached_to_and_one_that_completed_is_taken(
    cloud: Cloud, asked: Callable[..., Asked]
) -> None:
    before = len(cloud.submitted())
    first = asked("sleep 2; echo done", key="a" * 64)
    job = jobs.submit_or_attach(cloud.azure, first.wanted)
    assert first.ledger.holds(cloud.azure.ids.job(job.name))
    second = asked("sleep 2; echo done", key="a" * 64)
    assert _carry(cloud, second) == job.name == f"phi-train-{'a' * 20}"
    assert f"job {job.name} runs already: attached" in second.heard.text()
    third = asked("sleep 2; echo done", key="a" * 64)
    assert _carry(cloud, third) == job.name
    assert "has completed before: its result is taken" in third.heard.text()
    assert len(cloud.submitted()) == before + 1
    assert not first.ledger.holds(cloud.azure.ids.job(job.name))


def test_events_of_the_node_become_ours(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    said = Event(kind=Kind.progress, message="loss 1.5", values={"done": 3, "total": 9})
    job = asked(f"echo noise; echo '{event_line(said)}'; printf 'no line end'")
    _carry(cloud, job)
    told = [event for event in job.heard.events if event.kind is Kind.progress]
    assert [(event.message, event.values, event.stage) for event in told] == [
        ("loss 1.5", {"done": 3, "total": 9}, "train")
    ]
    assert "noise" not in job.heard.text()
    assert "runs" in job.heard.text()


def test_a_failed_job_says_why_and_the_next_one_gets_a_name_of_its_own(
    cloud: Cloud, asked: Callable[..., Asked]
) -> None:
    failing = asked("echo begins; echo 'boom: no such thing' >&2; exit 3", key="b" * 64)
    with pytest.raises(RemoteFailed) as failure:
        _carry(cloud, failing)
    text = str(failure.value)
    assert "\n" not in text
    assert f"job phi-train-{'b' * 20} failed" in text
    assert "boom: no such thing" in text
    assert "https://ml.azure.com/runs/" in text
    assert "warning: | boom: no such thing" in failing.heard.text()
    again = asked("echo works", key="b" * 64)
    assert _carry(cloud, again) == f"phi-train-{'b' * 20}-r1"


def test_a_failure_in_our_own_words_comes_back_as_it_was_said(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    job = asked(f"echo '{failure_line('out of memory with train.batch_size=8: halve it')}'; exit 1")
    with pytest.raises(RemoteFailed, match=r"failed on its node: out of memory with train\.batch_size=8: halve it"):
        _carry(cloud, job)


def test_a_cancelled_job_is_submitted_again(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    job = asked("sleep 60", key="c" * 64)
    begun = jobs.submit_or_attach(cloud.azure, job.wanted)
    cloud.azure.ml.jobs.begin_cancel(begun.name).result()
    with pytest.raises(RemoteFailed, match=r"was cancelled; the same command submits it again"):
        following.follow(cloud.azure, begun, events=job.wanted.events)
    assert _carry(cloud, asked("echo works", key="c" * 64)) == f"phi-train-{'c' * 20}-r1"


def test_force_wants_a_new_job_but_only_one(cloud: Cloud, asked: Callable[..., Asked], tmp_path: Path) -> None:
    first = _carry(cloud, asked("echo one", key="d" * 64))
    (tmp_path / "work" / "k.scratch" / "job").unlink()  # its result is in place: the store has removed the scratch
    second = _carry(cloud, asked("echo two", key="d" * 64, anew=True))
    assert second == f"{first}-r1"
    third = _carry(cloud, asked("echo two", key="d" * 64, anew=True))  # killed before its result was in place
    assert third == second


@pytest.mark.parametrize("mode", ["lost", "drop"])
def test_a_lost_answer_to_the_submission_makes_no_second_job(
    cloud: Cloud, asked: Callable[..., Asked], mode: str
) -> None:
    before = len(cloud.submitted())
    cloud.rig.admin("/faults", {"match": r"/jobs/phi-train-[^/]+$", "method": "PUT", "mode": mode, "times": 1})
    name = _carry(cloud, asked("echo once"))
    assert len(cloud.submitted()) - before <= 1
    kept = {call["path"].rsplit("/", 1)[1] for call in cloud.puts(r"/jobs/[^/]+$")}
    assert {job for job in kept if job.startswith(name)} == {name}


def test_a_refused_submission_leaves_no_debt_in_the_ledger(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    fault = {"match": r"/jobs/phi-train-[^/]+$", "method": "PUT", "status": 400, "code": "UserError", "times": -1}
    cloud.rig.admin("/faults", fault | {"message": "JobNodeCountExceedsCoreQuota: 24 cores are needed, 0 are free."})
    job = asked("echo never", key="9" * 64)
    with pytest.raises(RemoteFailed, match=r"the job needs more cores than the subscription has"):
        _carry(cloud, job)
    assert not job.ledger.holds(cloud.azure.ids.job(f"phi-train-{'9' * 20}"))


def test_following_survives_slow_downs_and_server_errors(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    for status in (429, 503, 500):
        fault = {"match": r"/runs/phi-train-[^/]+/details", "status": status, "times": 2, "after": 1}
        cloud.rig.admin("/faults", fault | {"headers": {"Retry-After": "0"}})
    cloud.rig.admin("/faults", {"match": "std_log", "method": "GET", "mode": "drop", "times": 2})
    assert _carry(cloud, asked("echo one; sleep 1; echo two"))


def test_an_expired_sign_in_says_so_and_the_job_goes_on(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    cloud.rig.admin("/faults", {"match": r"/runs/phi-train-[^/]+/details", "status": 401, "times": -1})
    job = asked("sleep 1; echo done", key="e" * 64)
    with pytest.raises(RemoteFailed, match=r"which goes on: .*az login"):
        _carry(cloud, job)
    cloud.rig.admin("/clear", {})
    assert _carry(cloud, asked("never", key="e" * 64)) == f"phi-train-{'e' * 20}"


def test_an_output_comes_here_and_a_missing_one_is_named(
    cloud: Cloud, asked: Callable[..., Asked], tmp_path: Path
) -> None:
    shell = "mkdir -p ${{outputs.summary}}/deep && echo hello > ${{outputs.summary}}/deep/a.txt && "
    name = _carry(cloud, asked(shell + "touch ${{outputs.summary}}/empty"))
    place = tmp_path / "result"
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "stale.txt").touch()  # an earlier fetch was interrupted
    jobs.fetch(cloud.azure, name, output="summary", folder=place, aside=tmp_path / "aside", anew="force=[train]")
    assert (place / "deep" / "a.txt").read_text() == "hello\n"
    assert sorted(file.name for file in place.rglob("*") if file.is_file()) == ["a.txt", "empty"]
    with pytest.raises(RemoteFailed, match=r"has no output 'result' .*type force=\[train\]"):
        jobs.fetch(cloud.azure, name, output="result", folder=place, aside=tmp_path / "aside", anew="force=[train]")


def test_an_interruption_lets_the_job_go_on(cloud: Cloud, asked: Callable[..., Asked]) -> None:
    job = asked("sleep 3; echo done", key="f" * 64)
    begun = jobs.submit_or_attach(cloud.azure, job.wanted)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        following.follow(cloud.azure, begun, events=job.wanted.events)
    found = jobs.state(cloud.azure, begun.name)
    assert found is not None
    assert not found.ended
    assert _carry(cloud, asked("never", key="f" * 64)) == begun.name


def test_no_secret_is_written_down(cloud: Cloud) -> None:
    files = [file for file in Path(cloud.config.outputs).rglob("*") if file.is_file()]
    texts = [file.read_text(errors="replace") for file in files]
    secrets = json.loads((cloud.rig.folder / "secrets.json").read_text())
    assert files
    assert not [file for file, text in zip(files, texts, strict=True) if any(item in text for item in secrets.values())]
    assert not [file for file, text in zip(files, texts, strict=True) if "sig=" in text]
