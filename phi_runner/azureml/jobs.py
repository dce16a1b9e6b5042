"""Jobs by name: submitted once, found again by whoever asks next, and their outputs brought here."""

import io
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from phi_runner.azureml.wording import in_our_words
from phi_runner.errors import RemoteFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

if TYPE_CHECKING:
    from phi_runner.azureml.client import Azure

_API = "2024-10-01-preview"  # the oldest that shows every kind of job, fine-tuning too
_COMPLETED = "Completed"
_GONE_WRONG = {"Failed", "Canceled", "NotResponding"}
_TRIES = 3
_TRY_PAUSE_S = 2.0
_SAVED_NAME = "job"
Make: TypeAlias = Callable[..., Any]
"""Makes a job of the SDK's own, whatever its kind, given its `name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the workspace says about a job."""

    name: str
    status: str
    studio_url: str

    @property
    def completed(self) -> bool:
        """Say whether it ended well."""
        return self.status == _COMPLETED

    @property
    def ended(self) -> bool:
        """Say whether it will not change any more."""
        return self.completed or self.status in _GONE_WRONG


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A job that should be there: its names, how it is made, and who is told."""

    name: Callable[[int], str]
    """Name of the n-th attempt, from 0; a failed or cancelled job keeps its name for good."""
    make: Make
    anew: bool
    """True: a job that completed before does not count."""
    scratch: Path
    """Where the name of a job made anew is kept until its result is in place."""
    ledger: Ledger
    events: StageEvents


def state(azure: "Azure", name: str) -> State | None:
    """Return a job's state, or None when the workspace has no job of that name."""
    with in_our_words(f"looking at job {name}"):
        found = azure.arm.get(azure.ids.job(name), api_version=_API)
    if found is None:
        return None
    properties: dict[str, Any] = found["properties"]
    studio = (properties.get("services") or {}).get("Studio") or {}
    return State(name=name, status=str(properties.get("status", "")), studio_url=str(studio.get("endpoint") or ""))


def submit_or_attach(azure: "Azure", wanted: Wanted) -> State:
    """Return the job's state: one that runs or has completed is taken, after failed ones a new one is submitted."""
    mark = wanted.scratch / _SAVED_NAME
    begun = mark.read_text(encoding="ascii") if mark.is_file() else ""
    attempt = 0
    while True:
        name = wanted.name(attempt)
        found = state(azure, name)
        if found is None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(name, encoding="ascii")
            return _submit(azure, wanted, name=name)
        if found.completed and (not wanted.anew or name == begun):
            wanted.events.info(f"job {name} has completed before: its result is taken")
            return found
        if not found.ended:
            wanted.events.info(f"job {name} runs already: attached ({found.studio_url})")
            wanted.ledger.plan(Made.job, azure.ids.job(name), region=azure.config.region, scope=azure.scope)
            wanted.ledger.made(azure.ids.job(name))
            return found
        attempt += 1


def _submit(azure: "Azure", wanted: Wanted, *, name: str) -> State:
    """Submit a job; when the answer is lost, look whether it is there before asking again."""
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    resource = azure.ids.job(name)
    with in_our_words(f"submitting job {name}"), redirect_stderr(io.StringIO()):
        job = wanted.make(name=name)
        wanted.ledger.plan(Made.job, resource, region=azure.config.region, scope=azure.scope)
        for trial in range(1, _TRIES + 1):
            try:
                azure.ml.jobs.create_or_update(job)
                break
            except (HttpResponseError, ServiceRequestError, ServiceResponseError) as err:
                if state(azure, name) is not None:
                    break
                if trial == _TRIES or not passing(err):
                    wanted.ledger.removed(resource)
                    raise
                time.sleep(_TRY_PAUSE_S)
    wanted.ledger.made(resource)
    found = state(azure, name) or State(name=name, status="NotStarted", studio_url="")
    wanted.events.info(f"submitted job {name}" + (f": {found.studio_url}" if found.studio_url else ""), job=name)
    return found


def settle(azure: "Azure", name: str, *, ledger: Ledger) -> None:
    """Take a job that has ended off the ledger; one that cannot be asked about stays there."""
    with suppress(RemoteFailed):
        found = state(azure, name)
        if found is None or found.ended:
            ledger.removed(azure.ids.job(name))


def passing(err: Exception) -> bool:
    """Say whether asking again may help."""
    status = getattr(err, "status_code", None)
    return status is None or status == 429 or status >= 500


def fetch(azure: "Azure", name: str, *, output: str, folder: Path, aside: Path, anew: str) -> None:
    """Bring a named output of a completed job into `folder`, file by file through `aside`, a folder of the same disk.

    Raises RemoteFailed when the job has no such output; `anew` is what to type then.
    """
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with in_our_words(f"fetching {output} of job {name}"), redirect_stderr(io.StringIO()):
        azure.ml.jobs.download(name, download_path=aside, output_name=output)
    found = aside / "named-outputs" / output
    if not found.is_dir() or not any(found.iterdir()):
        raise RemoteFailed(f"job {name} has no output {output!r} (removed from the storage?): type {anew}")
    folder.mkdir(parents=True, exist_ok=True)
    for item in found.iterdir():
        _remove(folder / item.name)
        item.rename(folder / item.name)
    shutil.rmtree(aside)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def how_to_stop(azure: "Azure", name: str) -> str:
    """Return what to type to cancel a job."""
    group, workspace = azure.config.resource_group, azure.config.workspace
    return f"az ml job cancel --name {name} --resource-group {group} --workspace-name {workspace}"
