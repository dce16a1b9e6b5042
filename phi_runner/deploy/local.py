"""The endpoint process on this machine: found, started, proved, and put in the place of the one before."""

import re
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from phi_runner import processes
from phi_runner.config.schema import LocalDeploy
from phi_runner.deploy import keys, probe, smoke
from phi_runner.deploy.probe import Served
from phi_runner.errors import ConfigProblem, DeployFailed
from phi_runner.events import StageEvents
from phi_runner.processes import Running
from phi_runner.serve.settings import EXIT_PORT_IN_USE, Settings, announced

KIND = "endpoint"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
_LOOK_EVERY_S = 0.03
_SUCCESSION_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The endpoint that a run asks for."""

    config: LocalDeploy
    model_folder: Path
    label: str
    template_hash: str
    device: str
    outputs: Path

    @property
    def key_file(self) -> Path:
        """Where its key is kept."""
        return keys.file_of(self.config.name, outputs=self.outputs)

    def settings(self, *, announce: Path, port: int = 0, successor: bool = False) -> Settings:
        """Return what the server process is told."""
        config = self.config
        return Settings(
            name=config.name, model_folder=str(self.model_folder), label=self.label, template_hash=self.template_hash,
            key_file=str(self.key_file), announce=str(announce), host=config.host, port=port, successor=successor,
            device=self.device, max_concurrent=config.max_concurrent, request_timeout_s=config.request_timeout_s,
            max_queue_wait_s=config.max_queue_wait_s, max_new_tokens=config.max_new_tokens,
        )  # fmt: skip


def deploy(wanted: Wanted, *, events: StageEvents) -> Running:
    """Return an endpoint that passed its smoke test; one that serves the same already is kept; raises DeployFailed.

    Runs that ask for the same name take turns.
    """
    if not _NAME.fullmatch(wanted.config.name):
        raise ConfigProblem(f"deploy.name={wanted.config.name!r}: use letters, digits, '.', '_' and '-' only")
    key = keys.ensure(wanted.key_file)
    events.hide(key)
    name = wanted.config.name
    with processes.name_lock(
        KIND, name, outputs=wanted.outputs, on_wait=lambda: events.info(f"another run deploys {name}: waiting")
    ):
        return _deploy(wanted, key=key, events=events)


def _deploy(wanted: Wanted, *, key: str, events: StageEvents) -> Running:
    old = processes.find(KIND, wanted.config.name, outputs=wanted.outputs)
    if old is None:
        return _start(wanted, key=key, old=None, events=events)
    reason = unfit(old, wanted=wanted, key=key)
    if not reason:
        events.info(f"endpoint {old.name} already serves this model at {old.url}", url=old.url, pid=old.pid)
        _prove(wanted, old.url, key=key, events=events)
        return old
    if _of_another_run(old):
        _wait_for_other_run(old, limit_s=wanted.config.start_timeout_s, events=events)
        return _start(wanted, key=key, old=None, events=events)
    events.info(f"endpoint {old.name} at {old.url} will be replaced: {reason}", url=old.url, pid=old.pid)
    return _start(wanted, key=key, old=old, events=events)


def _wait_for_other_run(old: Running, *, limit_s: float, events: StageEvents) -> None:
    """Return once another run's endpoint has ended with it; raises DeployFailed when that takes too long."""
    events.info(f"endpoint {old.name} at {old.url} belongs to another run: waiting for its end", pid=old.pid)
    deadline = time.monotonic() + limit_s
    while old.alive():
        if time.monotonic() > deadline:
            raise DeployFailed(
                f"endpoint {old.name} at {old.url} belongs to another run that is still going (pid {old.pid}): "
                "wait for it, or type deploy.name=ANOTHER"
            )
        time.sleep(_LOOK_EVERY_S)


def unfit(running: Running, *, wanted: Wanted, key: str) -> str:
    """Say why a running endpoint is not the wanted one, or nothing."""
    if wanted.config.detach and not running.detached:
        return "it would end with this run and deploy.detach=true"
    if wanted.config.port not in (0, _port(running)):
        return f"it does not listen on deploy.port={wanted.config.port}"
    served = _served(running, key=key)
    if isinstance(served, str):
        return served
    if served.label != wanted.label:
        return f"it serves {served.label}"
    expected = wanted.settings(announce=Path()).fingerprint()
    return "" if served.fingerprint == expected else "its model or its limits have changed"


def changed(running: Running, *, label: str, template_hash: str, key_file: Path) -> str:
    """Say why a running endpoint no longer is what a run once started, or nothing."""
    try:
        served = _served(running, key=keys.read(key_file))
    except DeployFailed as err:
        return str(err)
    if isinstance(served, str):
        return served
    if served.label != label:
        return f"it serves {served.label}"
    return "" if served.template_hash == template_hash else "it serves the model with another chat template"


def _served(running: Running, *, key: str) -> Served | str:
    """Return what a running endpoint says of its model, or why it cannot be used."""
    if _of_another_run(running):
        return "it ends with another run"
    if not probe.is_ready(running.url):
        return "it does not answer /health/ready"
    try:
        return probe.served(running.url, key=key)
    except DeployFailed as err:
        return str(err)


def _of_another_run(running: Running) -> bool:
    return not running.detached and not processes.is_ours(running.pid)


def _port(running: Running) -> int:
    return urlsplit(running.url).port or 0


def _start(wanted: Wanted, *, key: str, old: Running | None, events: StageEvents) -> Running:
    """Start a process, prove it, retire the old one; whatever goes wrong on the way, the new process is stopped."""
    config, begun = wanted.config, time.monotonic()
    successor = old is not None and config.port != 0 and config.port == _port(old)
    log = wanted.outputs / "logs" / f"endpoint-{config.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo, TemporaryDirectory(prefix=".starting-", dir=log.parent) as told:
        announce, file = Path(told, "port.json"), Path(told, "settings.json")
        wanted.settings(announce=announce, port=config.port, successor=successor).save(file)
        log_size = log.stat().st_size if log.exists() else 0
        child = processes.start("phi_runner.serve", ["--settings", str(file)], log=log, detach=False)
        undo.callback(processes.stop, child.pid)
        starting = _Starting(wanted=wanted, child=child, log=log, log_size=log_size, announce=announce)
        url = starting.wait_until_ready()
        events.info(f"ready after {time.monotonic() - begun:.1f} s at {url}", url=url, pid=child.pid)
        _prove(wanted, url, key=key, events=events)
        if old:
            processes.stop(old.pid)
            events.info(f"stopped the endpoint that it replaces (pid {old.pid})", pid=old.pid)
        if successor:
            url = starting.wait_for_succession(events) or url
        running = Running(
            name=config.name, kind=KIND, pid=child.pid, created=processes.created(child.pid), url=url, log=str(log),
            detached=config.detach,
        )  # fmt: skip
        processes.write_down(running, outputs=wanted.outputs)
        if config.detach:
            processes.let_go(child.pid)
        undo.pop_all()
        return running


def _prove(wanted: Wanted, url: str, *, key: str, events: StageEvents) -> None:
    patience_s = wanted.config.max_queue_wait_s + wanted.config.request_timeout_s
    answer = smoke.test_endpoint(url, key=key, timeout_s=patience_s)
    events.info(f"smoke test passed: {smoke.QUESTION} -> {answer.strip()}", answer=answer)
    if not answer.strip():
        events.warn("the model ends its turn at once, its answer is empty: see evaluate's answers, and train it longer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Starting:
    """A server process that is not known to serve yet."""

    wanted: Wanted
    child: subprocess.Popen[bytes]
    log: Path
    log_size: int
    """Bytes in the log before this process wrote its first."""
    announce: Path

    def wait_until_ready(self) -> str:
        """Return the URL once the model is loaded; raises DeployFailed when the process ends or takes too long."""
        limit_s = self.wanted.config.start_timeout_s
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise self._ended()
            port = announced(self.announce)
            if port and probe.is_ready(self._url(port)):
                return self._url(port)
            time.sleep(_LOOK_EVERY_S)
        raise DeployFailed(
            f"the endpoint was not ready after deploy.start_timeout_s={limit_s:g}: see {self.log}, or allow more"
        )

    def wait_for_succession(self, events: StageEvents) -> str:
        """Return the URL on the port of the endpoint just stopped, nothing when another program took that port."""
        port = self.wanted.config.port
        deadline = time.monotonic() + _SUCCESSION_TIMEOUT_S
        while time.monotonic() < deadline:
            if announced(self.announce) == port:
                return self._url(port)
            time.sleep(_LOOK_EVERY_S)
        events.warn(f"deploy.port={port} was taken by another program while the endpoint was replaced")
        return ""

    def _url(self, port: int) -> str:
        host = _EVERYWHERE.get(self.wanted.config.host, self.wanted.config.host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _ended(self) -> DeployFailed:
        config = self.wanted.config
        if self.child.returncode == EXIT_PORT_IN_USE:
            return DeployFailed(
                f"deploy.port={config.port} is already in use on {config.host}: type deploy.port=0 for any free port, "
                "or stop the program that listens there"
            )
        with self.log.open("rb") as stream:
            stream.seek(self.log_size)
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), f"exit code {self.child.returncode}")
        return DeployFailed(f"the endpoint ended while it started: {last.removeprefix('error: ')} (log: {self.log})")
