"""An endpoint on this machine: its gateway found or started, its deployment rolled out behind it."""

import re
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from phi_runner import processes
from phi_runner.config.schema import LocalDeploy
from phi_runner.deploy import gateway as gateways
from phi_runner.deploy import history, keys, probe, quality, smoke
from phi_runner.deploy.behind import LocalBackend
from phi_runner.deploy.gateway import Gateway
from phi_runner.deploy.history import Entry
from phi_runner.deploy.rollout import Pace, Served, roll_out
from phi_runner.errors import ConfigProblem, DeployFailed
from phi_runner.events import StageEvents
from phi_runner.processes import Running
from phi_runner.serve.gateway.steering import GatewaySettings
from phi_runner.serve.settings import Settings

KIND = "endpoint"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOOK_EVERY_S = 0.03
_WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The endpoint that a run asks for."""

    config: LocalDeploy
    model_folder: Path
    label: str
    template_hash: str
    device: str
    outputs: Path
    answers: Path | None = None
    """What the evaluated model answered to held-out prompts; None: nobody has asked it."""
    engine_folder: str = ""
    """What was exported from the model for its engine."""
    engine_python: str = ""
    """Interpreter of an engine with an environment of its own."""
    module: str = "phi_runner.serve"
    """What runs a deployment."""

    @property
    def key_file(self) -> Path:
        """Where its key is kept."""
        return keys.file_of(self.config.name, outputs=self.outputs)

    @property
    def home(self) -> Path:
        """Where its gateway is steered from."""
        return self.outputs / "endpoints" / self.config.name

    @property
    def history_file(self) -> Path:
        """Where it is kept what it served before."""
        return history.file_of("local", self.config.name, outputs=self.outputs)

    def settings(self) -> Settings:
        """Return what each deployment's process is told; where it announces its port is settled when it is made."""
        config = self.config
        return Settings(
            name=config.name, model_folder=str(self.model_folder), label=self.label, template_hash=self.template_hash,
            key_file=str(self.key_file), announce="", device=self.device, engine=config.engine,
            engine_folder=self.engine_folder, engine_python=self.engine_python, engine_options=config.vllm_options,
            max_concurrent=config.max_concurrent, max_queue=config.max_queue,
            request_timeout_s=config.request_timeout_s, max_queue_wait_s=config.max_queue_wait_s,
            max_body_bytes=config.max_body_bytes, body_timeout_s=config.body_timeout_s,
            max_new_tokens=config.max_new_tokens,
        )  # fmt: skip

    def entry(self) -> Entry:
        """Return what is to be served as the endpoint's history keeps it."""
        return Entry(
            label=self.label, model=str(self.model_folder), template_hash=self.template_hash,
            answers=str(self.answers or ""), settings=asdict(self.settings()),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """An endpoint that passed its roll-out, and what it serves."""

    running: Running
    deployment: str
    serves: Entry


def deploy(wanted: Wanted, *, events: StageEvents) -> Running:
    """Return an endpoint that serves what is wanted, as `bring_up` does."""
    return bring_up(wanted, events=events).running


def bring_up(wanted: Wanted, *, events: StageEvents) -> Up:
    """Roll the wanted deployment out behind its endpoint; one that serves it already is kept; raises DeployFailed.

    With `deploy.rollback` it is what was served before instead. Runs that ask for the same name take turns.
    """
    if not _NAME.fullmatch(wanted.config.name):
        raise ConfigProblem(f"deploy.name={wanted.config.name!r}: use letters, digits, '.', '_' and '-' only")
    key = keys.ensure(wanted.key_file)
    events.hide(key)
    name = wanted.config.name
    with processes.name_lock(
        KIND, name, outputs=wanted.outputs, on_wait=lambda: events.info(f"another run deploys {name}: waiting")
    ):
        entry = wanted.entry()
        if wanted.config.rollback:
            entry = history.before(wanted.history_file, name=name)
            events.info(f"brings back {entry.label}, which endpoint {name} served before")
        up = _bring_up(wanted, entry, key=key, events=events)
        history.note(entry, wanted.history_file)
        return up


def _bring_up(wanted: Wanted, entry: Entry, *, key: str, events: StageEvents) -> Up:
    config = wanted.config
    old = processes.find(KIND, config.name, outputs=wanted.outputs)
    if old is not None and _of_another_run(old):
        _wait_for_other_run(old, limit_s=config.start_timeout_s, events=events)
        old = None
    moves = _moves(old, config=config) if old else ""
    if old and moves:
        events.info(f"endpoint {old.name} at {old.url} will be replaced: {moves}", url=old.url, pid=old.pid)
    with ExitStack() as undo:
        if old and not moves:
            gateway = gateways.attach(old)
        else:
            gateway = _start(wanted, keep=old.folder if old else "")
            undo.callback(gateways.stop, gateway)
        served = _roll_out(wanted, entry, gateway=gateway, key=key, events=events)
        tied = old is None or bool(moves) or not old.detached
        running = gateway.running(url=gateway.url, detached=config.detach or not tied)
        processes.write_down(running, outputs=wanted.outputs)
        if config.detach and tied:
            processes.let_go(gateway.pid)
        undo.pop_all()
    if old and moves:
        gateways.stop(gateways.attach(old))
        events.info(f"stopped the endpoint that it replaces (pid {old.pid})", pid=old.pid)
    _tell(served, url=running.url, events=events)
    return Up(running=running, deployment=served.name, serves=entry)


def _start(wanted: Wanted, *, keep: str) -> Gateway:
    config = wanted.config
    settings = GatewaySettings(
        name=config.name, folder="", key_file=str(wanted.key_file), host=config.host, port=config.port,
        module=wanted.module,
    )  # fmt: skip
    log = wanted.outputs / "logs" / f"endpoint-{config.name}.log"
    return gateways.start(settings, home=wanted.home, log=log, keep=keep)


def _roll_out(wanted: Wanted, entry: Entry, *, gateway: Gateway, key: str, events: StageEvents) -> Served:
    config = wanted.config
    if not Path(entry.model).is_dir():
        raise DeployFailed(f"the weights of {entry.label} in {entry.model} are gone: register the model again")
    pace = Pace(steps=config.shift, step_s=config.step_s, bake_s=config.bake_s)
    deployments = backend(wanted, entry, gateway=gateway, key=key, events=events)
    return roll_out(deployments, wanted=deployments.settings.fingerprint(), pace=pace, events=events)


def backend(wanted: Wanted, entry: Entry, *, gateway: Gateway, key: str, events: StageEvents) -> LocalBackend:
    """Return the deployments behind a gateway, with `entry` as the one that is to be there."""
    config = wanted.config
    return LocalBackend(
        gateway=gateway, settings=_settings(entry), start_timeout_s=config.start_timeout_s, key=key,
        gate=quality.read(entry.answers_file, most=config.quality_prompts, floor=config.quality_floor),
        logs=wanted.outputs / "logs", events=events,
    )  # fmt: skip


def _settings(entry: Entry) -> Settings:
    try:
        return Settings(**entry.settings)
    except TypeError as err:
        raise DeployFailed(f"{entry.label} was served by another version, which set it up otherwise: {err}") from err


def _tell(served: Served, *, url: str, events: StageEvents) -> None:
    answer = served.answer.strip()
    events.info(f"{served.name} answers at {url}: {smoke.QUESTION} -> {answer}", url=url, answer=answer)
    if not answer:
        events.warn("the model ends its turn at once, its answer is empty: see evaluate's answers, and train it longer")


def _moves(old: Running, *, config: LocalDeploy) -> str:
    """Say why another process must take the endpoint's place, or nothing; raises DeployFailed where none can."""
    try:
        gateway = gateways.attach(old)
    except DeployFailed as err:
        return str(err)
    port = urlsplit(old.url).port or 0
    if config.port not in (0, port):
        return f"it does not listen on deploy.port={config.port}"
    if config.host == gateway.settings.host:
        return ""
    if config.port:
        raise DeployFailed(
            f"endpoint {old.name} listens on {gateway.settings.host}:{port}, and deploy.host={config.host} with the "
            "same port: type another deploy.port, or stages=[teardown] first"
        )
    return f"it does not listen on deploy.host={config.host}"


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


def _of_another_run(running: Running) -> bool:
    return not running.detached and not processes.is_ours(running.pid)


def changed(running: Running, *, label: str, template_hash: str, key_file: Path, deployment: str) -> str:
    """Say why a running endpoint no longer is what a run once left, or nothing."""
    if _of_another_run(running):
        return "it ends with another run"
    try:
        traffic = {name: percent for name, percent in gateways.attach(running).plan().traffic.items() if percent}
        if not probe.is_ready(running.url):
            return "it does not answer /health/ready"
        served = probe.served(running.url, key=keys.read(key_file))
    except DeployFailed as err:
        return str(err)
    if served.label != label:
        return f"it serves {served.label}"
    if served.template_hash != template_hash:
        return "it serves the model with another chat template"
    return "" if traffic == {deployment: _WHOLE} else f"{deployment} does not have all the traffic"


def forget(name: str, *, outputs: Path) -> None:
    """Remove what is kept of an endpoint that was torn down: its key, its history, what its gateway was steered by."""
    keys.file_of(name, outputs=outputs).unlink(missing_ok=True)
    history.file_of("local", name, outputs=outputs).unlink(missing_ok=True)
    shutil.rmtree(outputs / "endpoints" / name, ignore_errors=True)
