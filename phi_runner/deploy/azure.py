"""The endpoint in Azure: its roll-out through the gateway, and whether it still is what a run once left."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from phi_runner.artifacts import Endpoint
from phi_runner.azureml import endpoints
from phi_runner.azureml.endpoints import Online
from phi_runner.azureml.names import same
from phi_runner.azureml.wish import Wish
from phi_runner.deploy import history, quality, smoke
from phi_runner.deploy.history import Entry
from phi_runner.deploy.quality import Gate, HeldOut
from phi_runner.deploy.rollout import Condition, Deployment, Pace, Served, roll_out

FACTS_FILE = "deployment.json"
"""In the result's folder: what `changed` compares the world with."""
_CONDITIONS = {"succeeded": Condition.ready, "failed": Condition.broken, "canceled": Condition.broken}
_SHOWN_LINES = 3
_OWN_LINES = "Container logs:"


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureBackend:
    """One managed online endpoint, as the roll-out drives it."""

    online: Online
    wish: Wish
    url: str
    """Score URL."""
    key: str = field(repr=False)
    gate: Gate
    logs: Path
    """Folder for the whole logs of deployments that failed."""

    def deployments(self) -> Sequence[Deployment]:
        """Return what Azure has; a deployment that is just being removed is not there any more."""
        traffic = endpoints.traffic_of(self.online.found())
        return [
            Deployment(
                name=item["name"], percent=traffic.get(item["name"], 0),
                fingerprint=endpoints.fingerprint_of(item),
                condition=_CONDITIONS.get(endpoints.state_of(item), Condition.making),
            )
            for item in self.online.deployments()
            if endpoints.state_of(item) != "deleting"
        ]  # fmt: skip

    def make(self, name: str) -> None:
        """Make the deployment; Azure gives a new one no traffic."""
        self.online.make(name, self.wish)

    def prove(self, name: str) -> str:
        """Ask a real question past the traffic's division in every form that is promised."""
        deploy, (text_form, chat_form) = self.wish.deploy, self.wish.forms
        return smoke.prove_behind_gateway(
            self.url, key=self.key, deployment=name, text_form=text_form, chat_form=chat_form,
            timeout_s=deploy.max_queue_wait_s + deploy.request_timeout_s,
        )  # fmt: skip

    def examine(self, name: str) -> None:
        """Ask the held-out prompts, one after the other: an instance may take one request at a time only."""
        events = self.online.events
        if not self.wish.forms[1]:
            events.info("no quality gate: this image takes no dialogues")
            return
        patience_s = self.wish.deploy.max_queue_wait_s + self.wish.deploy.request_timeout_s
        with smoke.behind_gateway(key=self.key, deployment=name, timeout_s=patience_s) as client:

            def ask(held: HeldOut) -> str | None:
                return smoke.answer(client, self.url, held.messages, max_new_tokens=held.max_new_tokens)

            quality.examine(self.gate, ask, name=name, events=events, at_a_time=1)

    def shift(self, traffic: Mapping[str, int]) -> None:
        """Divide the traffic."""
        self.online.shift(traffic)

    def remove(self, name: str) -> None:
        """Remove a deployment without traffic."""
        self.online.remove(name)

    def log_tail(self, name: str) -> Sequence[str]:
        """Return the lines that say most; the whole logs of both containers are kept in a file."""
        texts = {container: self.online.log(name, container=container) for container in endpoints.CONTAINERS}
        if not any(texts.values()):
            return []
        self.logs.mkdir(parents=True, exist_ok=True)
        file = self.logs / f"azure-{self.online.name}-{name}.log"
        file.write_text(
            "".join(f"=== {container}\n" + "\n".join(lines) + "\n" for container, lines in texts.items()),
            encoding="utf-8",
        )
        said = next((lines for lines in map(_own_lines, texts.values()) if lines), [])
        return [*said[-_SHOWN_LINES:], f"all of it: {file}"]


def _own_lines(log: Sequence[str]) -> list[str]:
    """Return what the container itself has written; Azure puts its own notes in front."""
    start = max((number for number, line in enumerate(log, start=1) if line.startswith(_OWN_LINES)), default=0)
    return list(log[start:])


def deploy(
    wish: Wish, *, online: Online, folder: Path, outputs: Path, detached: bool, answers: Path | None = None
) -> Endpoint:
    """Bring the wished deployment to all traffic of the endpoint and return the result; raises DeployFailed.

    With `deploy.rollback` the version that served before takes the wished one's place. `answers` are the evaluated
    model's.
    """
    config, events = wish.deploy, online.events
    served_file = history.file_of("azure", online.name, outputs=outputs)
    entry = Entry(
        label=wish.label, model=wish.model, template_hash=wish.template_hash, answers=str(answers) if answers else ""
    )
    if config.rollback:
        entry = history.before(served_file, name=online.name)
        wish = replace(wish, label=entry.label, model=entry.model, template_hash=entry.template_hash)
        events.info(f"brings back {entry.label}, which endpoint {online.name} served before")
    endpoint = online.ensure(identity=wish.identity)
    url, key = endpoints.score_url(endpoint), online.key()
    gate = quality.read(entry.answers_file, most=config.quality_prompts, floor=config.quality_floor)
    backend = AzureBackend(online=online, wish=wish, url=url, key=key, gate=gate, logs=outputs / "logs")
    pace = Pace(steps=config.shift, step_s=config.step_s, bake_s=config.bake_s)
    served = roll_out(backend, wanted=wish.fingerprint, pace=pace, events=events)
    history.note(entry, served_file)
    _tell(served, wish=wish, url=url, warn=events.warn, info=events.info)
    facts = {"fingerprint": wish.fingerprint, "model": wish.model}
    (folder / FACTS_FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return Endpoint(
        folder=folder, name=online.name, url=url.removesuffix("/score"), key_file="", pid=0, model=wish.label,
        template_hash=wish.template_hash, detached=detached, resource=online.resource, deployment=served.name,
        chat_form=wish.forms[1],
    )  # fmt: skip


def _tell(served: Served, *, wish: Wish, url: str, warn: Callable[..., None], info: Callable[..., None]) -> None:
    info(f"{served.name} answers at {url}: {smoke.QUESTION} -> {served.answer.strip()}", url=url, answer=served.answer)
    if not served.answer.strip():
        warn("the model ends its turn at once, its answer is empty: see evaluate's answers, and train it longer")
    if wish.usd_per_hour:
        info(
            f"it bills about {wish.usd_per_hour:.2f} USD an hour until it is removed: stages=[teardown] does",
            usd_per_hour=wish.usd_per_hour,
        )


def changed(artifact: Endpoint, *, online: Online) -> str:
    """Say why an endpoint in Azure is not what a run left there, or nothing; raises DeployFailed when Azure is mute."""
    endpoint = online.found()
    if endpoint is None:
        return "the endpoint is gone"
    if {name: share for name, share in endpoint["properties"]["traffic"].items() if share} != {
        artifact.deployment: 100
    }:
        return f"{artifact.deployment} does not have all the traffic"
    try:
        facts = json.loads((artifact.folder / FACTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it does not say what it served"
    there = next((item for item in online.deployments() if item["name"] == artifact.deployment), None)
    if there is None or endpoints.state_of(there) != "succeeded":
        return f"deployment {artifact.deployment} is not ready"
    if not same(str(there["properties"].get("model") or ""), facts["model"]):
        return f"deployment {artifact.deployment} serves another model"
    if endpoints.fingerprint_of(there) != facts["fingerprint"]:
        return f"deployment {artifact.deployment} has other settings"
    return ""
