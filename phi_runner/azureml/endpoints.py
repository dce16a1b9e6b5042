"""A managed online endpoint and its deployments: read, made, given traffic and removed, each call safe to repeat."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi_runner.azureml import environment, versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.package import SCORING_SCRIPT
from phi_runner.azureml.wording import clean, in_our_words
from phi_runner.config import vm_sizes
from phi_runner.config.schema import AzureDeploy, RehearsalAzure, Serving
from phi_runner.errors import DeployFailed
from phi_runner.events import StageEvents
from phi_runner.ledger import Ledger, Made

Body = dict[str, Any]
OURS = "phi_runner"
"""Tag of every endpoint that this program has made; one without it belongs to somebody else."""
FINGERPRINT = "phi_runner.fingerprint"
"""Tag of a deployment: what it serves and how."""
CONTAINERS = ("inference-server", "storage-initializer")
_ENVIRONMENT = "phi-runner-inference"
_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses while a name that was just removed is still being given back: Azure answers 404 until then."""
_AGAIN_REHEARSED_S = (0.2, 0.4, 0.8, 1.6, 3.2)
_LOG_LINES = 200
_WORKER_TIMEOUT_S = 1800
"""The inference server ends a worker that has not come up by then; its own 300 s are short for a large model."""
_NOT_SERVED = {"name", "shift", "step_s", "bake_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a deployment is to serve, and how."""

    deploy: AzureDeploy
    model: str
    """ARM id of the registered version."""
    label: str
    template_hash: str
    identity: str
    """ARM id of the user-assigned identity that the endpoint runs as."""
    identity_client_id: str
    code: Path | None
    """Staged folder of our scoring code; None: the no-code image."""

    @property
    def fingerprint(self) -> str:
        """Return a hash of all that decides what answers; how the traffic moves does not."""
        values: Body = {name: value for name, value in asdict(self.deploy).items() if name not in _NOT_SERVED}
        values |= {"model": self.model.lower(), "template": self.template_hash, "code": ""}
        if self.code:
            values |= {"code": self.code.name, "conda": environment.inference_conda()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def usd_per_hour(self) -> float:
        """The most that it bills; 0 where the size is not in the table of prices."""
        size = vm_sizes.lookup(self.deploy.instance_type)
        return size.usd_per_hour * self.deploy.instances if size else 0.0


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
            return self.azure.arm.listed(f"{self.resource}/deployments", api_version=versions.MACHINE_LEARNING)

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
        self._until_there(resource, doing, lambda: self._put_deployment(name, wish))
        self.ledger.made(resource)

    def _put_deployment(self, name: str, wish: Wish) -> None:
        from azure.ai.ml.entities import (
            CodeConfiguration,
            ManagedOnlineDeployment,
            OnlineRequestSettings,
            ProbeSettings,
        )

        deploy, parts = wish.deploy, {}
        if wish.code:
            made = environment.ensure_inference(self.azure, name=_ENVIRONMENT, image=deploy.image)
            parts = {
                "environment": made.removeprefix("azureml:"),
                "code_configuration": CodeConfiguration(code=str(wish.code), scoring_script=SCORING_SCRIPT),
            }

        def probe() -> ProbeSettings:
            return ProbeSettings(
                failure_threshold=deploy.probe_failure_threshold, success_threshold=deploy.probe_success_threshold,
                period=deploy.probe_period_s, initial_delay=deploy.probe_initial_delay_s,
            )  # fmt: skip

        deployment = ManagedOnlineDeployment(
            name=name, endpoint_name=self.name, model=wish.model, instance_type=deploy.instance_type,
            instance_count=deploy.instances, environment_variables=self._variables(wish),
            request_settings=OnlineRequestSettings(
                max_concurrent_requests_per_instance=deploy.max_concurrent,
                request_timeout_ms=round(deploy.request_timeout_s * 1000),
                max_queue_wait_ms=round(deploy.max_queue_wait_s * 1000),
            ),
            liveness_probe=probe(), readiness_probe=probe(), tags={OURS: "deployment", FINGERPRINT: wish.fingerprint},
            **parts,
        )  # fmt: skip
        self.azure.ml.online_deployments.begin_create_or_update(deployment).result(self.azure.config.wait_s)

    def _variables(self, wish: Wish) -> dict[str, str]:
        """Return the tutorials' three, and what our scoring code and its server are told."""
        config, deploy = self.azure.config, wish.deploy
        found = {
            "SUBSCRIPTION_ID": config.subscription,
            "RESOURCE_GROUP_NAME": config.resource_group,
            "UAI_CLIENT_ID": wish.identity_client_id,
        }
        if deploy.serving is Serving.mlflow:
            return found
        return found | {
            "PHI_RUNNER_MODEL": wish.label,
            "PHI_RUNNER_TEMPLATE_HASH": wish.template_hash,
            "PHI_RUNNER_MAX_CONCURRENT": str(deploy.max_concurrent),
            "PHI_RUNNER_REQUEST_TIMEOUT_S": f"{deploy.request_timeout_s:g}",
            "PHI_RUNNER_MAX_QUEUE_WAIT_S": f"{deploy.max_queue_wait_s:g}",
            "PHI_RUNNER_MAX_NEW_TOKENS": str(deploy.max_new_tokens),
            # the server's one worker takes one request at a time unless it is given threads
            "GUNICORN_CMD_ARGS": f"--threads {deploy.max_concurrent}",
            "WORKER_TIMEOUT": str(_WORKER_TIMEOUT_S),
        }

    def _plan(self, kind: Made, resource: str, *, usd_per_hour: float = 0.0) -> None:
        config = self.azure.config
        self.ledger.plan(
            kind, resource, usd_per_hour=usd_per_hour, region=config.region, scope=self.azure.scope
        )  # fmt: skip

    def _until_there(self, resource: str, doing: str, put: Callable[[], None]) -> None:
        """Make something until it is there: Azure answers 404 for a name just removed, and may lose an operation."""
        from azure.core.exceptions import ResourceNotFoundError, ServiceResponseError

        rehearsed = isinstance(self.azure.config, RehearsalAzure)
        pauses = iter(_AGAIN_REHEARSED_S if rehearsed else _AGAIN_S)
        with in_our_words(doing, kind=DeployFailed):
            while True:
                try:
                    put()
                except (ResourceNotFoundError, ServiceResponseError) as err:
                    found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
                    pause_s = next(pauses, None)
                    if found is None and pause_s is not None and isinstance(err, ResourceNotFoundError):
                        time.sleep(pause_s)
                        continue
                    if found is None:
                        raise
                else:
                    found = self.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)
                if found is None or _state(found) != "succeeded":
                    raise DeployFailed(f"{doing} ended as {_state(found or {}) or 'missing'}")
                return

    def shift(self, traffic: Mapping[str, int]) -> None:
        """Divide the traffic, in percent by name; everything else about the endpoint stays."""
        with in_our_words(f"the traffic of endpoint {self.name}", kind=DeployFailed):
            endpoint = self.azure.ml.online_endpoints.get(self.name)
            endpoint.traffic = {name: percent for name, percent in traffic.items() if percent}
            self.azure.ml.online_endpoints.begin_create_or_update(endpoint).result(self.azure.config.wait_s)

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
