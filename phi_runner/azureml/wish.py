"""What a deployment is to serve and how: its identity as a hash, and the request that makes it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.azureml import environment as environments
from phi_runner.azureml.package import SCORING_SCRIPT
from phi_runner.config import prices
from phi_runner.config.schema import AzureConfig, AzureDeploy, Serving

if TYPE_CHECKING:
    from azure.ai.ml.entities import ManagedOnlineDeployment, ProbeSettings

Body = dict[str, Any]
OURS = "phi_runner"
"""Tag of every endpoint that this program has made; one without it belongs to somebody else."""
FINGERPRINT = "phi_runner.fingerprint"
"""Tag of a deployment: what it serves and how."""
_WORKER_TIMEOUT_S = 1800
"""The inference server ends a worker that has not come up by then; its own 300 s are short for a large model."""
_NOT_SERVED = {"name", "shift", "step_s", "bake_s", "quality_prompts", "quality_floor", "rollback"}


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
    def forms(self) -> tuple[bool, bool]:
        """Say whether it answers a list of texts, and a dialogue.

        Our code answers both. Azure's images answer one: the no-code image of a model that was trained here a list, the
        catalog's image of a model that Azure has fine-tuned a dialogue; that one has no template of ours.
        """
        if self.deploy.serving is Serving.code:
            return True, True
        return bool(self.template_hash), not self.template_hash

    @property
    def fingerprint(self) -> str:
        """Return a hash of all that decides what answers; how the traffic moves does not."""
        values: Body = {name: value for name, value in asdict(self.deploy).items() if name not in _NOT_SERVED}
        values |= {"model": self.model.lower(), "template": self.template_hash, "code": ""}
        if self.code:
            values |= {"code": self.code.name, "conda": environments.inference_conda()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def usd_per_hour(self) -> float:
        """The most that it bills by the list; 0 where the size is not in the table of prices."""
        return (prices.table().of(self.deploy.instance_type) or 0.0) * self.deploy.instances

    def entity(self, name: str, *, endpoint: str, environment: str, config: AzureConfig) -> "ManagedOnlineDeployment":
        """Return the deployment as azure-ai-ml wants it; `environment` is `azureml:name:version`, or empty."""
        from azure.ai.ml.entities import CodeConfiguration, ManagedOnlineDeployment, OnlineRequestSettings

        deploy, parts = self.deploy, {}
        if self.code:
            parts = {
                "environment": environment.removeprefix("azureml:"),
                "code_configuration": CodeConfiguration(code=str(self.code), scoring_script=SCORING_SCRIPT),
            }
        return ManagedOnlineDeployment(
            name=name, endpoint_name=endpoint, model=self.model, instance_type=deploy.instance_type,
            instance_count=deploy.instances, environment_variables=self.variables(config),
            request_settings=OnlineRequestSettings(
                max_concurrent_requests_per_instance=deploy.max_concurrent,
                request_timeout_ms=round(deploy.request_timeout_s * 1000),
                max_queue_wait_ms=round(deploy.max_queue_wait_s * 1000),
            ),
            liveness_probe=self._probe(), readiness_probe=self._probe(),
            tags={OURS: "deployment", FINGERPRINT: self.fingerprint}, **parts,
        )  # fmt: skip

    def _probe(self) -> "ProbeSettings":
        from azure.ai.ml.entities import ProbeSettings

        deploy = self.deploy
        return ProbeSettings(
            failure_threshold=deploy.probe_failure_threshold, success_threshold=deploy.probe_success_threshold,
            period=deploy.probe_period_s, initial_delay=deploy.probe_initial_delay_s,
        )  # fmt: skip

    def variables(self, config: AzureConfig) -> dict[str, str]:
        """Return the tutorials' three variables, and what our scoring code and its server are told."""
        deploy = self.deploy
        found = {
            "SUBSCRIPTION_ID": config.subscription,
            "RESOURCE_GROUP_NAME": config.resource_group,
            "UAI_CLIENT_ID": self.identity_client_id,
        }
        if deploy.serving is Serving.mlflow:
            return found
        return found | {
            "PHI_RUNNER_MODEL": self.label,
            "PHI_RUNNER_TEMPLATE_HASH": self.template_hash,
            "PHI_RUNNER_MAX_CONCURRENT": str(deploy.max_concurrent),
            "PHI_RUNNER_REQUEST_TIMEOUT_S": f"{deploy.request_timeout_s:g}",
            "PHI_RUNNER_MAX_QUEUE_WAIT_S": f"{deploy.max_queue_wait_s:g}",
            "PHI_RUNNER_MAX_NEW_TOKENS": str(deploy.max_new_tokens),
            # the server's one worker takes one request at a time unless it is given threads
            "GUNICORN_CMD_ARGS": f"--threads {deploy.max_concurrent}",
            "WORKER_TIMEOUT": str(_WORKER_TIMEOUT_S),
        }
