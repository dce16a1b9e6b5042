"""The gateway in front of deployments: keys, traffic, limits, and a record of who served what."""

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from starlette.responses import JSONResponse, Response, StreamingResponse

from phi_runner.azureml.emulator import container, endpoints
from phi_runner.azureml.emulator.cloud import Body, Call, Cloud

if TYPE_CHECKING:
    import httpx

_HOST = re.compile(r"([a-z0-9-]+)\.[a-z0-9]+\.inference\.ml\.azure\.com", re.IGNORECASE)
_DURATION = re.compile(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")
_NOT_PASSED = frozenset(
    {"authorization", "connection", "content-length", "host", "transfer-encoding", "azureml-model-deployment"}
)
_RESTART_S = 120.0
"""How long a request waits for a container that comes back after the emulator's restart."""
_NO_ROUTE = (
    "No valid deployments to route to. Please check that the endpoint has at least one deployment with positive "
    "weight values or use a deployment specific header to route."
)


class _Refused(Exception):
    """A request that the gateway does not pass on, or that failed behind it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One scoring call."""

    time: float
    """When it came, in seconds since the epoch."""
    endpoint: str
    deployment: str
    """Empty when it could not be routed."""
    status: int
    duration_s: float


@dataclass(slots=True, kw_only=True)
class _Gateway:
    """What a gateway counts."""

    dice: random.Random
    active: dict[str, int] = field(default_factory=dict)
    """Requests by deployment, those that wait too."""
    slots: dict[tuple[str, int], threading.Semaphore] = field(default_factory=dict)


_lock = threading.Lock()
_gateways: WeakKeyDictionary[Cloud, _Gateway] = WeakKeyDictionary()


def _gateway(cloud: Cloud) -> _Gateway:
    with _lock:
        found = _gateways.get(cloud)
        if found is None:
            dice = random.Random(cloud.private(endpoints.FACTS).get("seed"))  # noqa: S311 - routing, no secret
            found = _gateways[cloud] = _Gateway(dice=dice)
        return found


def served(cloud: Cloud) -> list[Body]:
    """Return all scoring calls so far, in the order in which they ended."""
    file = cloud.folder / "served.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def handle(cloud: Cloud, call: Call) -> Response | None:
    """Answer requests to an endpoint's own host."""
    found = _HOST.fullmatch(call.host)
    if not found:
        return None
    started, deployment = time.time(), ""
    try:
        endpoint = endpoints.find(cloud, found[1])
        if endpoint is None or not endpoint["properties"].get("scoringUri"):
            raise _Refused(404, "Not Found")
        _check_key(cloud, call, endpoint)
        deployment = _route(cloud, call, endpoint)
        response = _pass_on(cloud, call, endpoint, deployment)
    except _Refused as refusal:
        response = JSONResponse({"message": str(refusal)}, refusal.status, headers=refusal.headers)
    if deployment:
        response.headers["azureml-model-deployment"] = deployment
    _write_down(cloud, endpoint=found[1], deployment=deployment, status=response.status_code, started=started)
    return response


def _write_down(cloud: Cloud, *, endpoint: str, deployment: str, status: int, started: float) -> None:
    line = Served(
        time=started, endpoint=endpoint, deployment=deployment, status=status, duration_s=time.time() - started
    )
    with _lock, (cloud.folder / "served.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(line)) + "\n")


def _check_key(cloud: Cloud, call: Call, endpoint: Body) -> None:
    given = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if endpoint["properties"].get("authMode", "Key").lower() == "key":
        valid = list(endpoints.keys(cloud, endpoint).values())
    else:
        valid = [endpoints.token(cloud, endpoint)]
    if given not in valid:
        raise _Refused(401, "key_auth_access_denied", {"www-authenticate": 'Bearer realm="AzureML"'})


def _route(cloud: Cloud, call: Call, endpoint: Body) -> str:
    """Return the deployment that a request goes to: the one it names, or one drawn by the traffic's weights."""
    if asked := call.headers.get("azureml-model-deployment", ""):
        found = cloud.get(f"{endpoint['id']}/deployments/{asked}")
        if found is None:
            raise _Refused(404, f"Specified deployment [{asked}] could not be found.")
        return str(found["name"])
    weights = {name: int(share) for name, share in (endpoint["properties"].get("traffic") or {}).items() if share}
    weights = {name: share for name, share in weights.items() if cloud.get(f"{endpoint['id']}/deployments/{name}")}
    if not weights:
        raise _Refused(404, _NO_ROUTE)
    return str(_gateway(cloud).dice.choices(list(weights), list(weights.values()))[0])


def _pass_on(cloud: Cloud, call: Call, endpoint: Body, name: str) -> Response:
    """Send a request to a deployment's container within the deployment's limits."""
    path = f"{endpoint['id']}/deployments/{name}"
    deployment = cloud.get(path) or {}
    limits = deployment.get("properties", {}).get("requestSettings") or {}
    at_once = int(limits.get("maxConcurrentRequestsPerInstance") or 1)
    at_once *= int((deployment.get("sku") or {}).get("capacity") or 1)
    gateway, key = _gateway(cloud), path.lower()
    with _lock:
        if gateway.active.get(key, 0) >= 2 * at_once:
            raise _Refused(429, "Too many requests: more than twice the number that is answered at a time.")
        gateway.active[key] = gateway.active.get(key, 0) + 1
        slot = gateway.slots.setdefault((key, at_once), threading.Semaphore(at_once))
    taken = False
    try:
        taken = slot.acquire(timeout=seconds(limits.get("maxQueueWait") or "PT0.5S"))
        if not taken:
            raise _Refused(408, "The request waited for longer than max_queue_wait_ms.")
        return _ask(cloud, call, path, timeout_s=seconds(limits.get("requestTimeout") or "PT5S"))
    finally:
        if taken:
            slot.release()
        with _lock:
            gateway.active[key] -= 1


def _ask(cloud: Cloud, call: Call, path: str, *, timeout_s: float) -> Response:
    import httpx

    found = container.of(cloud).current(path, wait_s=_RESTART_S)
    if found is None or not found.alive:
        raise _Refused(503, "no healthy upstream")
    client = httpx.Client(base_url=f"http://127.0.0.1:{found.port}", trust_env=False, timeout=timeout_s)
    headers = {name: value for name, value in call.headers.items() if name.lower() not in _NOT_PASSED}
    request = client.build_request(call.method, call.path, params=call.query, headers=headers, content=call.raw)
    try:
        answer = client.send(request, stream=True)
    except httpx.TimeoutException as err:
        client.close()
        raise _Refused(408, "The model did not answer within request_timeout_ms.") from err
    except httpx.TransportError as err:
        client.close()
        raise _Refused(502, "upstream connect error or disconnect before headers") from err
    return _answer(client, answer)


def _answer(client: "httpx.Client", answer: "httpx.Response") -> Response:
    """Return a container's answer as the gateway shows it: whole, in pieces, or as a failed dependency."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED}
    if "content-length" not in answer.headers and answer.status_code == 200:
        streamed = StreamingResponse(_pieces(client, answer), 200, headers=headers)
        streamed.body = b""  # what the wire log finds of it; given earlier, it would count as the whole answer
        return streamed
    body = answer.read()
    answer.close()
    client.close()
    if answer.status_code == 200:
        return Response(body, 200, headers=headers)
    headers |= {
        "ms-azureml-model-error-statuscode": str(answer.status_code),
        "ms-azureml-model-error-reason": "model_error",
    }
    return Response(body, 424, headers=headers)


def _pieces(client: "httpx.Client", answer: "httpx.Response") -> Iterator[bytes]:
    try:
        yield from answer.iter_bytes()
    finally:
        answer.close()
        client.close()


def seconds(duration: str) -> float:
    """Return an ISO 8601 duration in seconds; raises ValueError."""
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValueError(f"{duration} is no ISO 8601 duration")
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
