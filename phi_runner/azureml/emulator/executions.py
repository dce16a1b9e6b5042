"""Carries jobs from Queued to their end, in threads; a job's processes outlive the emulator and are found again."""

import re
import shutil
import threading
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from phi_runner import processes
from phi_runner.azureml.emulator import finetuning, sweeps
from phi_runner.azureml.emulator.cloud import Body, Cloud, now
from phi_runner.azureml.emulator.job_files import JobFailed, JobFiles

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
_JOB = re.compile(r".*/workspaces/[^/]+/jobs/[^/]+")
_POLL_S = 0.1
_TRIES, _RETRY_S = 20, 0.5
"""For a storage that does not answer: an emulator that ends takes it away under running jobs."""
_lock = threading.Lock()


class _Interrupted(Exception):
    """The emulator ends."""


class _Canceled(Exception):
    """Somebody cancelled the job."""


class _Work(NamedTuple):
    path: str
    files: JobFiles


class Executions:
    """The threads that carry the jobs of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        """Take the jobs that an earlier emulator left, running or not."""
        self._cloud = cloud
        self._threads: dict[str, threading.Thread] = {}
        self._ending = threading.Event()
        for path in filter(_JOB.fullmatch, cloud.paths()):
            job = cloud.get(path) or {}
            if job["properties"].get("status") not in TERMINAL and not cloud.private(path).get("parent"):
                self.begin(job["id"])

    def begin(self, path: str) -> None:
        """Carry a job in a thread of its own."""
        thread = threading.Thread(target=self.carry, args=(path,), name=path.rsplit("/", 1)[1], daemon=True)
        self._threads[path.lower()] = thread
        thread.start()

    def wait(self, path: str) -> None:
        """Wait until the thread of a job has ended, if there is one."""
        if thread := self._threads.get(path.lower()):
            thread.join()

    def end(self) -> None:
        """Let go of all jobs without touching them."""
        self._ending.set()
        for thread in list(self._threads.values()):
            thread.join()

    def carry(self, path: str) -> None:
        """Bring a job to its end and write that down."""
        try:
            self._carry_with_patience(path)
        finally:  # whatever goes wrong here must not leave a job that never ends
            status = (self._cloud.get(path) or {}).get("properties", {}).get("status")
            if status not in TERMINAL and status is not None and not self._ending.is_set():
                self._finish(path, "Failed", JobFailed("ServiceError", "The job ended without a result."))

    def _carry_with_patience(self, path: str) -> None:
        from azure.core.exceptions import AzureError

        for _attempt in range(_TRIES):
            try:
                return self._carry(path)
            except AzureError:
                if self._ending.wait(_RETRY_S):
                    return None
        return None

    def _carry(self, path: str) -> None:
        work = _Work(path, JobFiles(self._cloud, path))
        try:
            self._run(work)
        except _Interrupted:
            return
        except _Canceled:
            self._stop(work)
            self._finish(path, "Canceled")
        except JobFailed as failure:
            work.files.send_logs()
            self._finish(path, "Failed", failure)
        else:
            self._finish(path, "Completed")
        shutil.rmtree(work.files.folder, ignore_errors=True)

    def _run(self, work: _Work) -> None:
        kind = work.files.body.get("jobType", "")
        runners: dict[str, Callable[[_Work], None]] = {
            "Command": self._command, "FineTuning": self._fine_tuning, "Sweep": self._sweep,
        }  # fmt: skip
        if kind not in runners:
            raise JobFailed("UserError", f"Jobs of type {kind} are not emulated: Command, FineTuning and Sweep are.")
        runners[kind](work)

    def _command(self, work: _Work) -> None:
        files = work.files
        if files.codes() is None and files.process() is None:
            files.clear()
            for status in ("Queued", "Preparing"):
                self._say(work.path, status)
            files.prepare()
            processes.start(
                "phi_runner.azureml.emulator.job_process", [str(files.folder)],
                log=files.folder / "process.log", detach=True,
            ).wait()  # fmt: skip
        self._cloud.change(work.path, status="Running")
        self._watch(work)
        self._cloud.change(work.path, status="Finalizing")
        files.send_logs()
        files.send_outputs()
        if code := next((code for code in files.codes() or [] if code), 0):
            raise JobFailed(
                "UserError",
                f"Execution failed. User process 'bash' exited with status code {code}. Please check log file "
                f"'user_logs/std_log.txt' for error details. Error: {files.tail()}",
            )

    def _watch(self, work: _Work) -> None:
        """Follow a job's processes until their exit codes are there."""
        while work.files.codes() is None:
            self._pause(work.path, _POLL_S)
            work.files.send_logs()
            if work.files.process() is None and work.files.codes() is None:
                raise JobFailed("ServiceError", "The node that ran the job was lost.")

    def _fine_tuning(self, work: _Work) -> None:
        for status in ("Queued", "Preparing", "Running"):
            self._say(work.path, status)
        work.files.clear()
        finetuning.run(self._cloud, work.files)

    def _sweep(self, work: _Work) -> None:
        self._cloud.change(work.path, status="Running")
        plan = sweeps.plan(self._cloud, work.path)
        for trial in plan:
            self._pause(work.path, 0)
            if (self._cloud.get(trial) or {})["properties"]["status"] not in TERMINAL:
                self.carry(trial)
        self._pause(work.path, 0)
        sweeps.conclude(self._cloud, work.path, trials=plan)

    def _say(self, path: str, status: str) -> None:
        self._cloud.change(path, status=status)
        self._pause(path, self._cloud.operation_s)

    def _pause(self, path: str, seconds: float) -> None:
        if self._ending.wait(seconds):
            raise _Interrupted
        facts = self._cloud.private(path)
        if facts.get("cancel") or self._cloud.private(facts.get("parent", "")).get("cancel"):
            raise _Canceled

    def _stop(self, work: _Work) -> None:
        if found := work.files.process():
            processes.stop(found.pid)
        work.files.send_logs()

    def _finish(self, path: str, status: str, failure: JobFailed | None = None) -> None:
        error: Body | None = None
        if failure:
            said = {"code": failure.code, "message": str(failure), "messageParameters": {}, "details": []}
            error = {"error": said, "time": now(), "componentName": "CommonRuntime"}
        self._cloud.note(path, ended=now(), error=error)
        self._cloud.change(path, status=status)


_all: WeakKeyDictionary[Cloud, Executions] = WeakKeyDictionary()


def of(cloud: Cloud) -> Executions:
    """Return the executions of a cloud; the first call takes up the jobs that were left unfinished."""
    with _lock:
        found = _all.get(cloud)
        if found is None:
            found = _all[cloud] = Executions(cloud)
        return found
