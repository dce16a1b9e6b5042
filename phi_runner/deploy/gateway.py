"""A gateway process as a run sees it: started, told a plan, asked what has come of it."""

import contextlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from phi_runner import processes
from phi_runner.errors import DeployFailed
from phi_runner.processes import Running
from phi_runner.serve.gateway import steering
from phi_runner.serve.gateway.steering import GatewaySettings, Plan, Report
from phi_runner.serve.settings import EXIT_PORT_IN_USE

CARRIED_OUT_S = 30.0
"""How long a gateway may take to begin with a plan, on a machine that is busy loading models."""
_LOOK_EVERY_S = 0.03
_STRANGE = (OSError, ValueError, TypeError, KeyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway process; everything raises DeployFailed when it has ended."""

    settings: GatewaySettings
    pid: int
    created: float
    log: Path
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """The process, where this one has started it."""

    @property
    def folder(self) -> Path:
        """Where plan and report lie."""
        return Path(self.settings.folder)

    @property
    def url(self) -> str:
        """Where it answers, once it does."""
        port = self.until(lambda report: bool(report.port), within_s=CARRIED_OUT_S, doing="start").port
        return processes.url_of(self.settings.host, port)

    def plan(self) -> Plan:
        """Return the last plan that a run has made."""
        try:
            return steering.read_plan(self.folder)
        except _STRANGE as err:
            raise DeployFailed(f"the plan in {self.folder} cannot be read ({err}): type stages=[teardown]") from err

    def carry_out(self, plan: Plan) -> Report:
        """Put a plan in the place of the last one; return once the gateway goes by it."""
        steering.write(plan, self.folder / steering.PLAN_FILE)
        return self.settled()

    def settled(self) -> Report:
        """Return the report on the last plan, which may be one that a killed run has just made."""
        generation = self.plan().generation
        return self.until(
            lambda report: report.generation >= generation, within_s=CARRIED_OUT_S, doing="carry out its plan"
        )

    def until(self, fits: Callable[[Report], bool], *, within_s: float, doing: str) -> Report:
        """Return the first report that fits."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with contextlib.suppress(*_STRANGE):
                report = steering.read_report(self.folder)
                if report is not None and fits(report):
                    return report
            if not self._alive():
                raise self._ended()
            time.sleep(_LOOK_EVERY_S)
        raise DeployFailed(f"endpoint {self.settings.name} did not {doing} within {within_s:g} s: see {self.log}")

    def running(self, *, url: str, detached: bool) -> Running:
        """Return what is written down of it."""
        return Running(
            name=self.settings.name, kind="endpoint", pid=self.pid, created=self.created, url=url, log=str(self.log),
            detached=detached, folder=str(self.folder),
        )  # fmt: skip

    def _alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return self.running(url="", detached=False).alive()

    def _ended(self) -> DeployFailed:
        settings = self.settings
        if self.child is not None and self.child.returncode == EXIT_PORT_IN_USE:
            return DeployFailed(
                f"deploy.port={settings.port} is already in use on {settings.host}: type deploy.port=0 for any free "
                "port, or stop the program that listens there"
            )
        with contextlib.suppress(OSError):
            lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line]
            if lines and lines[-1].startswith("error: "):
                last = lines[-1].removeprefix("error: ")
                return DeployFailed(f"the endpoint ended while it started: {last} (log: {self.log})")
        return DeployFailed(f"the process of endpoint {settings.name} has ended (log: {self.log})")


def start(settings: GatewaySettings, *, home: Path, log: Path, keep: str = "") -> Gateway:
    """Start a gateway that ends with this process; it may not listen yet.

    `home` is the endpoint's own folder: the gateway gets one in it, and what earlier ones have left there goes, but for
    `keep`.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for stale in home.iterdir():
        if stale.is_dir() and str(stale) != keep:
            shutil.rmtree(stale, ignore_errors=True)
    folder = home / secrets.token_hex(4)
    folder.mkdir(mode=0o700)
    settings = replace(settings, folder=str(folder))
    steering.write(settings, folder / steering.SETTINGS_FILE)
    arguments = ["--settings", str(folder / steering.SETTINGS_FILE)]
    child = processes.start("phi_runner.serve.gateway", arguments, log=log, detach=False)
    created = processes.created(child.pid)
    return Gateway(settings=settings, pid=child.pid, created=created, log=log, child=child)


def attach(running: Running) -> Gateway:
    """Return a gateway that another run has started; raises DeployFailed when it says nothing of itself."""
    try:
        settings = steering.read_settings(Path(running.folder) / steering.SETTINGS_FILE)
    except _STRANGE as err:
        raise DeployFailed(
            f"endpoint {running.name} at {running.url} was started by another version: type stages=[teardown] first"
        ) from err
    return Gateway(settings=settings, pid=running.pid, created=running.created, log=Path(running.log))


def stop(gateway: Gateway) -> None:
    """End a gateway and its engines; its folder goes with it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes.stop(gateway.pid)
    shutil.rmtree(gateway.folder, ignore_errors=True)
