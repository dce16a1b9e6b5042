"""What an endpoint says of itself: whether it is ready, and which model it serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from phi_runner.errors import DeployFailed

PINNED_HEADER = "azureml-model-deployment"
"""Asks one deployment past the division of the traffic; Azure's gateway and ours know it."""
_PROBE_TIMEOUT_S = 5.0


@contextmanager
def client(
    url: str, *, key: str = "", deployment: str = "", timeout_s: float = _PROBE_TIMEOUT_S
) -> Iterator[httpx.Client]:
    """Open a client for the endpoint alone: no proxy, the key in its header; `deployment` asks that one only."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if deployment:
        headers[PINNED_HEADER] = deployment
    # A proxy set for the internet must not see requests to this machine; there is no TLS, and loading certificates
    # that nobody asks for takes 50 ms.
    with httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False, verify=False) as endpoint:  # noqa: S501
        yield endpoint


def is_ready(url: str) -> bool:
    """Say whether the endpoint answers that its model is loaded."""
    with client(url) as endpoint:
        try:
            return endpoint.get("/health/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an endpoint says of itself."""

    label: str
    template_hash: str
    fingerprint: str


def served(url: str, *, key: str) -> Served:
    """Return what the endpoint says of the model it serves; raises DeployFailed when it does not."""
    with client(url, key=key) as endpoint:
        try:
            [model] = endpoint.get("/v1/models").raise_for_status().json()["data"]
            return Served(label=model["id"], template_hash=model["template_hash"], fingerprint=model["fingerprint"])
        except (httpx.HTTPError, ValueError, TypeError, KeyError) as err:
            raise DeployFailed(f"the endpoint at {url} does not say which model it serves: {err}") from err
