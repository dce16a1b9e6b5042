"""The deployments behind an endpoint's gateway on this machine, as the roll-out drives them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from phi_runner.deploy import probe, quality, smoke
from phi_runner.deploy.gateway import CARRIED_OUT_S, Gateway
from phi_runner.deploy.quality import Gate, HeldOut
from phi_runner.deploy.rollout import Condition, Deployment
from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents
from phi_runner.serve.gateway.steering import Deployed, Phase, Wish
from phi_runner.serve.settings import Settings

_CONDITIONS = {Phase.ready: Condition.ready, Phase.failed: Condition.broken}
_REFUSED = {httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}
_LOG_LINES = 3
_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend:
    """The engine processes behind one gateway; what is there stands in its plan, which is never half written."""

    gateway: Gateway
    settings: Settings
    """Of the deployment that is wanted, whatever it will be called."""
    start_timeout_s: float
    key: str = field(repr=False)
    gate: Gate
    logs: Path
    events: StageEvents
    _deaths: dict[str, int] = field(default_factory=dict, repr=False)
    """How often each deployment had died when this run first tested it."""

    def deployments(self) -> Sequence[Deployment]:
        """Return what the gateway runs, once it goes by its last plan."""
        report, plan = self.gateway.settled(), self.gateway.plan()
        found = [(wish, report.of(wish.name)) for wish in plan.wishes]
        return [
            Deployment(
                name=wish.name, percent=plan.traffic.get(wish.name, 0), fingerprint=wish.fingerprint,
                condition=_CONDITIONS.get(there.phase, Condition.making) if there else Condition.broken,
            )
            for wish, there in found
        ]  # fmt: skip

    def make(self, name: str) -> None:
        """Start a process beside those that are there and wait until its model is loaded."""
        plan = self.gateway.plan()
        if name not in {wish.name for wish in plan.wishes}:
            self.gateway.carry_out(plan.next(wishes=(*plan.wishes, self._wish(name))))
        there = self._up_or_failed(name)
        if there is None or there.phase is Phase.failed:
            why = there.why if there else "it is gone"
            raise DeployFailed(f"the endpoint ended while it started: {why} (log: {self._log(name)})")

    def _up_or_failed(self, name: str) -> Deployed | None:
        """Return a deployment once it is known how its start ends."""
        report = self.gateway.until(
            lambda report: (there := report.of(name)) is None or there.phase in _CONDITIONS,
            within_s=self.start_timeout_s + CARRIED_OUT_S, doing=f"bring up deployment {name}",
        )  # fmt: skip
        return report.of(name)

    def _wish(self, name: str) -> Wish:
        fingerprint = self.settings.fingerprint()
        file = self.gateway.folder / f"{name}-{fingerprint[:12]}.json"
        replace(self.settings, announce=str(file.with_suffix(".port")), port=0).save(file)
        return Wish(
            name=name, settings=str(file), fingerprint=fingerprint, log=str(self._log(name)),
            start_timeout_s=self.start_timeout_s,
        )  # fmt: skip

    def _log(self, name: str) -> Path:
        return self.logs / f"endpoint-{self.settings.name}-{name}.log"

    def prove(self, name: str) -> str:
        """Ask a real question in every contract; a process that died since its first test does not pass the next."""
        with self._watched(name):
            return smoke.test_endpoint(self.gateway.url, key=self.key, deployment=name, timeout_s=self._patience_s)

    @contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        """Call a death of the process by its name, whatever went wrong because of it."""
        if name not in self._deaths:
            self._deaths[name] = _deaths(self._up_or_failed(name))
        self._check_alive(name)
        try:
            yield
        finally:
            self._check_alive(name)

    def _check_alive(self, name: str) -> None:
        there = self.gateway.settled().of(name)
        times = _deaths(there) - self._deaths[name]
        if there and times > 0:
            often = "once" if times == 1 else f"{times} times"
            raise DeployFailed(f"{name} died {often} while it was watched: {there.why} (log: {self._log(name)})")

    @property
    def _patience_s(self) -> float:
        return self.settings.max_queue_wait_s + self.settings.request_timeout_s

    def examine(self, name: str) -> None:
        """Ask the held-out prompts."""
        url, patience_s = self.gateway.url, self._patience_s
        with self._watched(name), probe.client(url, key=self.key, deployment=name, timeout_s=patience_s) as client:

            def ask(held: HeldOut) -> str | None:
                return _answer(client, held)

            quality.examine(self.gate, ask, name=name, events=self.events)

    def shift(self, traffic: Mapping[str, int]) -> None:
        """Divide the traffic; who had some before stands by until it is removed."""
        plan = self.gateway.plan()
        proved = {*plan.standby, *(name for name, percent in plan.traffic.items() if percent)}
        standby = tuple(sorted(name for name in proved if not traffic.get(name)))
        self.gateway.carry_out(plan.next(traffic=dict(traffic), standby=standby))

    def remove(self, name: str) -> None:
        """End a process after its last answer."""
        plan = self.gateway.plan()
        self.gateway.carry_out(
            plan.next(
                wishes=tuple(wish for wish in plan.wishes if wish.name != name),
                traffic={other: percent for other, percent in plan.traffic.items() if other != name},
                standby=tuple(other for other in plan.standby if other != name),
            )
        )
        self.gateway.until(
            lambda report: name not in {there.name for there in report.deployed},
            within_s=self._patience_s + CARRIED_OUT_S, doing=f"end deployment {name}",
        )  # fmt: skip

    def log_tail(self, name: str) -> Sequence[str]:
        """Return the last lines of a process that runs; why one has ended was told already."""
        there = self.gateway.settled().of(name)
        if there is None or there.phase is Phase.failed:
            return []
        with self._log(name).open("rb") as stream:
            stream.seek(max(self._log(name).stat().st_size - _LOG_BYTES, 0))
            return stream.read().decode("utf-8", errors="replace").splitlines()[-_LOG_LINES:]


def _deaths(there: Deployed | None) -> int:
    return there.restarts + (there.phase is Phase.failed) if there else 0


def _answer(client: httpx.Client, held: HeldOut) -> str | None:
    body = {"messages": list(held.messages), "max_tokens": held.max_new_tokens, "temperature": 0}
    try:
        response = client.post("/v1/chat/completions", json=body)
        if response.status_code in _REFUSED:
            return None
        return str(response.raise_for_status().json()["choices"][0]["message"]["content"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as err:
        raise DeployFailed(f"a held-out prompt was not answered ({type(err).__name__}: {err})") from err
