"""Follow a running job: its status and the lines of its log, through whatever hiccups of the service.

The SDK's own stream prints nothing when the job has a default output, so this reads run history and the log's blob.
"""

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phi_runner import task
from phi_runner.azureml import jobs
from phi_runner.azureml.wording import clean, in_our_words, said
from phi_runner.config.schema import RehearsalAzure
from phi_runner.errors import RemoteFailed
from phi_runner.events import StageEvents

if TYPE_CHECKING:
    from azure.core import PipelineClient
    from azure.core.rest import HttpResponse

    from phi_runner.azureml.client import Azure

_WORKSPACE_API = "2024-10-01-preview"
_FIRST_S, _LONGEST_S, _REHEARSAL_S = 1.0, 5.0, 0.3
_PATIENCE_S = 900.0
"""How long the service may fail in a row before we stop watching; the job goes on."""
_LAST_LINES = 30
_TOLD_LINES = 3
_ENDED = {"Completed", "Failed", "Canceled", "NotResponding"}


@dataclass(slots=True)
class _Log:
    """The lines of one log blob, read on from where the last look ended."""

    offset: int = 0
    rest: bytes = b""

    def take(self, answer: "HttpResponse") -> list[str]:
        """Return the whole lines that an answer to a ranged request adds."""
        if answer.status_code == 416:
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if total.isdigit() and int(total) < self.offset:  # the job began again on another node
                self.offset, self.rest = 0, b""
            return []
        if answer.status_code not in {200, 206}:
            return []
        new = answer.content if answer.status_code == 206 else answer.content[self.offset :]
        self.offset += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def end(self) -> list[str]:
        """Return what stands after the last line end."""
        rest, self.rest = self.rest, b""
        return [rest.decode(errors="replace")] if rest else []


@dataclass(slots=True, kw_only=True)
class _Follower:
    azure: "Azure"
    job: jobs.State
    events: StageEvents
    own: "PipelineClient[Any, Any]"
    open: "PipelineClient[Any, Any]"
    log: _Log = field(default_factory=_Log)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    failure: str = ""
    details_url: str = ""

    def details(self) -> dict[str, Any]:
        """Return the run's details; empty while run history does not know the job yet."""
        if not self.details_url:
            host = _history(self.azure, self.open)
            self.details_url = f"{host}/history/v1.0{self.azure.ids.workspace}/runs/{self.job.name}/details"
        answer = _get(self.own, self.details_url)
        return dict(_checked(answer).json()) if answer.status_code != 404 else {}

    def read_log(self, urls: dict[str, str]) -> None:
        names = sorted(name for name in urls if name.startswith("user_logs/std_log"))
        if names:  # of several processes the first one tells
            self._hear(self.log.take(_get(self.open, urls[names[0]], Range=f"bytes={self.log.offset}-")))

    def _hear(self, lines: list[str]) -> None:
        for line in lines:
            told = task.parse(line)
            if told is None:
                self.last.append(clean(line))
            elif told.kind is None:
                self.failure = told.message
            else:
                self.events.events.emit(told.kind, told.message, stage=self.events.stage, **told.values)

    def end(self) -> None:
        self._hear(self.log.end())


def follow(azure: "Azure", job: jobs.State, *, events: StageEvents) -> None:
    """Return when the job has completed; its events become ours. Raises RemoteFailed when it ended otherwise.

    Raises RemoteFailed too when the service cannot be asked for a long time; the job then goes on.
    """
    follower = _Follower(azure=azure, job=job, events=events, own=_client(azure, signed=True), open=_client(azure))
    pause_s = _REHEARSAL_S if isinstance(azure.config, RehearsalAzure) else _FIRST_S
    status, trouble_since, details = "", 0.0, {}
    while status not in _ENDED:
        if status:
            time.sleep(pause_s)
            pause_s = pause_s if isinstance(azure.config, RehearsalAzure) else min(_LONGEST_S, pause_s * 1.2)
        try:
            with in_our_words(f"following job {job.name}, which goes on"):
                details = follower.details()
            trouble_since = 0.0
        except RemoteFailed as err:
            trouble_since = trouble_since or time.monotonic()
            if not _passing(err) or time.monotonic() - trouble_since > _PATIENCE_S:
                raise
            status = status or "NotStarted"
            continue
        before, status = status, str(details.get("status") or "NotStarted")
        if status != before and status not in _ENDED:
            events.info(f"job {job.name}: {_plainly(status)}")
        with suppress(RemoteFailed), in_our_words("reading the log"):  # the result does not hang on it
            follower.read_log(details.get("logFiles") or {})
    follower.end()
    if status != "Completed":
        raise RemoteFailed(_why(follower, status, details))


def _passing(err: RemoteFailed) -> bool:
    """Say whether a failed look is worth another: a sign-in that has expired is not."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    cause = err.__cause__
    if isinstance(cause, ClientAuthenticationError):
        return False
    if isinstance(cause, HttpResponseError):
        return cause.status_code is None or cause.status_code == 429 or cause.status_code >= 500
    return True


def _why(follower: _Follower, status: str, details: dict[str, Any]) -> str:
    """Return one line about a job that did not complete; the end of its log is told as events before."""
    job, events = follower.job, follower.events
    stop = f"all of its log: {job.studio_url}" if job.studio_url else "its log is in the studio"
    if status == "Canceled":
        return f"job {job.name} was cancelled; the same command submits it again ({stop})"
    if follower.failure:
        return f"job {job.name} failed on its node: {follower.failure} ({stop})"
    for line in follower.last:
        events.warn(f"| {line}")
    error = (details.get("error") or {}).get("error") or {}
    message = _worded(str(error.get("message") or f"it ended as {status}"), code=str(error.get("code") or ""))
    lines = " | ".join(line.strip() for line in list(follower.last)[-_TOLD_LINES:] if line.strip())
    log = f"; the last lines of its log: {lines}" if lines else ""
    return f"job {job.name} failed: {message}{log} ({stop})"


def _worded(message: str, *, code: str) -> str:
    from azure.core.exceptions import AzureError

    return said(AzureError(f"({code}) {message}" if code else message), doing="the service says")


def _plainly(status: str) -> str:
    return {
        "NotStarted": "not started yet", "Queued": "waits for a node", "Provisioning": "a node is being made",
        "Preparing": "the environment is being prepared", "Starting": "starts", "Running": "runs",
        "Finalizing": "stores its outputs",
    }.get(status, status)  # fmt: skip


def _client(azure: "Azure", *, signed: bool = False) -> "PipelineClient[Any, Any]":
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy

    policies: list[Any] = [UserAgentPolicy("phi_runner"), RetryPolicy()]
    if signed:
        policies.append(BearerTokenCredentialPolicy(azure.credential, azure.token_scope))
    return PipelineClient(base_url="", policies=policies)


def _get(client: "PipelineClient[Any, Any]", url: str, **headers: str) -> "HttpResponse":
    from azure.core.rest import HttpRequest

    answer: HttpResponse = client.send_request(HttpRequest("GET", url, headers=headers))
    return answer


def _checked(answer: "HttpResponse") -> "HttpResponse":
    answer.raise_for_status()
    return answer


def _history(azure: "Azure", client: "PipelineClient[Any, Any]") -> str:
    """Return the address of the region's run history."""
    workspace = azure.arm.get(azure.ids.workspace, api_version=_WORKSPACE_API)
    if workspace is None:
        raise RemoteFailed(f"the workspace {azure.config.workspace} is gone: its jobs went with it")
    found = _checked(_get(client, workspace["properties"]["discoveryUrl"])).json()
    return str(found.get("history") or found["api"]).rstrip("/")
