"""A managed online endpoint and its deployments: read, made, given traffic and removed, each call safe to repeat."""

import io
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

from phi_runner.azureml import environment, versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.wish import FINGERPRINT, OURS, Wish
from phi_runner.azureml.wording import clean, in_our_words
from phi_runner.config.schema import RehearsalAzure
from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

Body = dict[str, Any]
CONTAINERS = ("inference-server", "storage-initializer")
_ENVIRONMENT = "phi-runner-inference"
_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses while a name that was just removed is still being given back: Azure answers 404 until then."""
_AGAIN_REHEARSED_S = (0.2, 0.4, 0.8, 1.6, 3.2)
_LOG_LINES = 200
_NOT_FOUND, _CONFLICT = 404, 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """One endpoint by its name. Everything raises DeployFailed with what Azure says in our words."""

    azure: Azure
    name: str
    ledger: Ledger
    events: StageEvents

    @property
    def resource(self) -> str:
        """ARM id."""
        return self.azure.ids.endpoint(self.name)

    def found(self) -> Body | None:
        """Return the endpoint once no operation works on it, None when it is not there; it must be ours."""
        with in_our_words(f"endpoint {self.name}", kind=DeployFailed):
            found = self.azure.arm.settled(self.resource, api_version=versions.MACHINE_LEARNING)
        if found is not None and OURS not in (found.get("tags") or {}):
            raise DeployFailed(
                f"endpoint {self.name} of workspace {self.azure.config.workspace} was not made by phi_runner and is "
                "left alone: type deploy.name=ANOTHER"
            )
        return found

    def ensure(self, *, identity: str) -> Body:
        """Return the endpoint, made when it is missing or when its making has failed."""
        found = self.found()
        if found is not None and _state(found) == "succeeded":
            self.ledger.made(self.resource)
            return found
        self.events.info(f"makes endpoint {self.name}" + (" again: it was left half-made" if found else ""))
        self._plan(Made.endpoint, self.resource)
        self._until_there(self.resource, f"endpoint {self.name}", lambda: self._put_endpoint(identity))
        self.ledger.made(self.resource)
        made = self.found()
        if made is None:
            raise DeployFailed(f"endpoint {self.name} is gone right after its making: the same command makes it again")
        return made

    def _put_endpoint(self, identity: str) -> None:
        from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration, ManagedOnlineEndpoint

        own = ManagedIdentityConfiguration(resource_id=identity)
        endpoint = ManagedOnlineEndpoint(
            name=self.name, auth_mode="key", tags={OURS: "endpoint"}, location=self.azure.config.region,
            identity=IdentityConfiguration(type="user_assigned", user_assigned_identities=[own]),
        )  # fmt: skip
        self.azure.ml.online_endpoints.begin_create_or_update(endpoint).result(self.azure.config.wait_s)

    def deployments(self) -> list[Body]:
        """Return the deployments as ARM shows them; none when the endpoint is not there."""
        with in_our_words(f"endpoint {self.name}", kind=DeployFailed):
            found = self.azure.arm.listed(f"{self.resource}/deployments", api_version=versions.MACHINE_LEARNING)
        self._forget_all_but({str(item["id"]).lower() for item in found})
        return found

    def _forget_all_but(self, there: set[str]) -> None:
        """Take out of the ledger what a killed run removed, or planned and never made."""
        start = f"{self.resource}/deployments/".lower()
        for entry in self.ledger.open():
            if entry.resource.lower().startswith(start) and entry.resource.lower() not in there:
                with in_our_words(f"deployment {entry.name} of endpoint {self.name}", kind=DeployFailed):
                    # asked for by itself: a list may lag behind, and what the ledger does not hold is never removed
                    if not self.azure.arm.exists(entry.resource, api_version=versions.MACHINE_LEARNING):
                        self.ledger.removed(entry.resource)

    def make(self, name: str, wish: Wish) -> None:
        """Make a deployment and wait for it; one that an earlier run began is waited for, and made anew if it failed.

        Raises DeployFailed when it does not come up; it may then be there all the same.
        """
        resource, doing = self.azure.ids.deployment(self.name, name), f"deployment {name} of endpoint {self.name}"
        with in_our_words(doing, kind=DeployFailed):
            found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
        if found is not None and _state(found) == "succeeded" and fingerprint_of(found) == wish.fingerprint:
            self.ledger.made(resource)
            return
        self._plan(Made.deployment, resource, usd_per_hour=wish.usd_per_hour)
        made = self._until_there(resource, doing, lambda: self._put_deployment(name, wish))
        if fingerprint_of(made) != wish.fingerprint:
            raise DeployFailed(f"{doing} was made by another run meanwhile: wait for its end, then type this again")
        self.ledger.made(resource)

    def _put_deployment(self, name: str, wish: Wish) -> None:
        made = ""
        if wish.code:
            made = environment.ensure_inference(self.azure, name=_ENVIRONMENT, image=wish.deploy.image)
        deployment = wish.entity(name, endpoint=self.name, environment=made, config=self.azure.config)
        with redirect_stderr(io.StringIO()):  # the upload of the code ends with an escape sequence
            poller = self.azure.ml.online_deployments.begin_create_or_update(deployment)
        poller.result(self.azure.config.wait_s)

    def _plan(self, kind: Made, resource: str, *, usd_per_hour: float = 0.0) -> None:
        config = self.azure.config
        self.ledger.plan(
            kind, resource, usd_per_hour=usd_per_hour, region=config.region, scope=self.azure.scope
        )  # fmt: skip

    def _until_there(self, resource: str, doing: str, put: Callable[[], None]) -> Body:
        """Make something until it is there: Azure answers 404 for a name just removed, and may lose an operation."""
        from azure.core.exceptions import HttpResponseError, ServiceResponseError

        rehearsed = isinstance(self.azure.config, RehearsalAzure)
        pauses = iter(_AGAIN_REHEARSED_S if rehearsed else _AGAIN_S)
        with in_our_words(doing, kind=DeployFailed):
            while True:
                try:
                    put()
                except (HttpResponseError, ServiceResponseError) as err:
                    if not _may_be_there(err):
                        raise
                    found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
                    pause_s = next(pauses, None)
                    if found is None and pause_s is not None and getattr(err, "status_code", None) == _NOT_FOUND:
                        time.sleep(pause_s)
                        continue
                    if found is None:
                        raise
                else:
                    found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
                if found is None or _state(found) != "succeeded":
                    raise DeployFailed(f"{doing} ended as {_state(found or {}) or 'missing'}")
                return found

    def shift(self, traffic: Mapping[str, int]) -> None:
        """Divide the traffic, in percent by name; everything else about the endpoint stays."""
        from azure.core.exceptions import HttpResponseError, ServiceResponseError

        wanted = {name: percent for name, percent in traffic.items() if percent}
        with in_our_words(f"the traffic of endpoint {self.name}", kind=DeployFailed):
            endpoint = self.azure.ml.online_endpoints.get(self.name)
            endpoint.traffic = dict(wanted)
            try:
                self.azure.ml.online_endpoints.begin_create_or_update(endpoint).result(self.azure.config.wait_s)
            except (HttpResponseError, ServiceResponseError) as err:
                if not _may_be_there(err) or traffic_of(self.found()) != wanted:
                    raise

    def remove(self, name: str) -> None:
        """Remove a deployment; one that is gone already is no error."""
        resource = self.azure.ids.deployment(self.name, name)
        with in_our_words(f"removing deployment {name} of endpoint {self.name}", kind=DeployFailed):
            self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
            self.azure.arm.delete(resource, api_version=versions.MACHINE_LEARNING)
        self.ledger.removed(resource)

    def log(self, name: str, *, container: str) -> list[str]:
        """Return the last lines that a deployment's container has written, without secrets; empty where there is none.

        `container` is one of `CONTAINERS`.
        """
        from azure.core.exceptions import HttpResponseError

        try:
            text = self.azure.ml.online_deployments.get_logs(
                name=name, endpoint_name=self.name, lines=_LOG_LINES, container_type=container
            )
        except HttpResponseError:  # a deployment that never got a machine has no log
            return []
        return [line for line in self.events.events.redact(clean(text)).splitlines() if line.strip()]

    def key(self) -> str:
        """Ask Azure for the endpoint's key; it goes nowhere but into memory."""
        with in_our_words(f"the key of endpoint {self.name}", kind=DeployFailed):
            key = str(self.azure.ml.online_endpoints.get_keys(self.name).primary_key)
        self.events.hide(key)
        return key


def _may_be_there(err: Any) -> bool:
    """Say whether what was asked for may have been done: its operation is not known, or its answer was lost.

    A conflict is a second try of azure-core's own, which meets the first.
    """
    return getattr(err, "status_code", None) in {None, _NOT_FOUND, _CONFLICT}


def traffic_of(endpoint: Body | None) -> dict[str, int]:
    """Return the percentages of the deployments that have traffic."""
    traffic: dict[str, int] = (endpoint or {}).get("properties", {}).get("traffic") or {}
    return {name: percent for name, percent in traffic.items() if percent}


def _state(found: Body) -> str:
    return str((found.get("properties") or {}).get("provisioningState") or "").lower()


def fingerprint_of(deployment: Body) -> str:
    """Return what a deployment says that it serves, and how; empty where this program has not made it."""
    return str((deployment.get("tags") or {}).get(FINGERPRINT) or "")


def state_of(deployment: Body) -> str:
    """Return Azure's word for how a deployment is, in lower case."""
    return _state(deployment)


def score_url(endpoint: Body) -> str:
    """Return the address for requests; raises DeployFailed where Azure has not given one yet."""
    url = str(endpoint["properties"].get("scoringUri") or "")
    if not url:
        raise DeployFailed(f"endpoint {endpoint.get('name')} has no address yet: the same command asks again")
    return url
