"""Azure Resource Manager in five verbs, for what azure-ai-ml has no calls for: plain bodies in and out.

Errors are azure-core's; `wording.in_our_words` turns them into ours. Operations are followed to their end.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phi_runner.errors import RemoteFailed

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpResponse
    from azure.mgmt.core import ARMPipelineClient

Body = dict[str, Any]
_ACCEPTED, _UNAUTHORISED, _NOT_FOUND, _CONFLICT = 202, 401, 404, 409
_PAUSE_S = 5.0
_ENDED = {"succeeded", "failed", "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Requests to one cloud's resource manager; `path` is an ARM id, with or without a query."""

    client: "ARMPipelineClient[Any, Any]"
    wait_s: float
    """Longest wait for one operation."""

    def get(self, path: str, *, api_version: str) -> Body | None:
        """Return what is at `path`, or None when nothing is."""
        answer = self._send("GET", path, api_version=api_version)
        if answer.status_code == _NOT_FOUND:
            return None
        return _body(_checked(answer))

    def exists(self, path: str, *, api_version: str) -> bool:
        """Say whether something is at `path`."""
        return self.get(path, api_version=api_version) is not None

    def listed(self, path: str, *, api_version: str) -> list[Body]:
        """Return the `value` of all pages of a collection; empty when its parent is missing."""
        found: list[Body] = []
        page = self.get(path, api_version=api_version)
        while page:
            found += page.get("value", [])
            page = _body(_checked(self._request("GET", page["nextLink"]))) if page.get("nextLink") else None
        return found

    def put(self, path: str, body: Body, *, api_version: str) -> Body:
        """Make or replace what is at `path`; returns it as it is when the operation has ended."""
        answer = _checked(self._send("PUT", path, api_version=api_version, body=body))
        made = self._followed(answer, path=path, api_version=api_version)
        return made if made is not None else self._again(path, api_version=api_version, why=_lost(answer))

    def patch(self, path: str, body: Body, *, api_version: str) -> Body:
        """Change part of what is at `path`; returns it as it is when the operation has ended."""
        answer = _checked(self._send("PATCH", path, api_version=api_version, body=body))
        made = self._followed(answer, path=path, api_version=api_version)
        return made if made is not None else self._again(path, api_version=api_version, why=_lost(answer))

    def delete(self, path: str, *, api_version: str) -> bool:
        """Remove what is at `path` and say whether it was there."""
        answer = self._send("DELETE", path, api_version=api_version)
        if answer.status_code == _NOT_FOUND:
            return False
        self._followed(_checked(answer), path="", api_version=api_version, result=False)
        return True

    def post(self, path: str, body: Body, *, api_version: str) -> Body:
        """Ask for an action and return its answer; empty when it has none."""
        answer = _checked(self._send("POST", path, api_version=api_version, body=body))
        if answer.status_code == _ACCEPTED:
            return self._followed(answer, path="", api_version=api_version) or {}
        return _body(answer)

    def settled(self, path: str, *, api_version: str) -> Body | None:
        """Return what is at `path` once no operation works on it any more, or None when nothing is."""
        return self._settled(path, api_version=api_version, first=None)

    def _send(self, verb: str, path: str, *, api_version: str, body: Body | None = None) -> "HttpResponse":
        url = self.client.format_url(f"{path}{'&' if '?' in path else '?'}api-version={api_version}")
        return self._request(verb, url, body=body)

    def _request(self, verb: str, url: str, *, body: Body | None = None) -> "HttpResponse":
        from azure.core.rest import HttpRequest

        answer: HttpResponse = self.client.send_request(HttpRequest(verb, url, json=body))
        return answer

    def _followed(self, answer: "HttpResponse", *, path: str, api_version: str, result: bool = True) -> Body | None:
        """Follow an operation to its end; returns the resource at `path`, or without one the action's `result`.

        None: the operation is not known any more. Raises HttpResponseError when it failed.
        """
        monitor = answer.headers.get("Azure-AsyncOperation", "")
        location = answer.headers.get("Location", "")
        if monitor:
            ended = self._ended(lambda: self._request("GET", monitor), first=answer, ready=_status_ended)
            if ended is None:
                return None
            _raise_unless_succeeded(ended)
            if not path:
                return _body(_checked(self._request("GET", location))) if location and result else {}
        elif answer.status_code == _ACCEPTED and location:
            ended = self._ended(lambda: self._request("GET", location), first=answer, ready=_no_longer_accepted)
            if ended is None or not path:
                return None if ended is None else _body(ended)
        elif not path:
            return _body(answer)
        return self._settled(path, api_version=api_version, first=None if monitor or location else answer)

    def _settled(self, path: str, *, api_version: str, first: "HttpResponse | None") -> Body | None:
        """Return the resource once its provisioning state is final."""

        def look() -> "HttpResponse":
            return self._send("GET", path, api_version=api_version)

        found = first if first is not None else look()
        if found.status_code != _NOT_FOUND and not _provisioned(found):
            ended = self._ended(look, first=found, ready=_provisioned)
            if ended is None:
                return None
            found = ended
        return None if found.status_code == _NOT_FOUND else _body(_checked(found))

    def _ended(
        self, ask: Callable[[], "HttpResponse"], *, first: "HttpResponse", ready: Callable[["HttpResponse"], bool]
    ) -> "HttpResponse | None":
        """Ask until `ready`, as often as the answers wish; None when what was asked for is not known any more."""
        deadline, answer = time.monotonic() + self.wait_s, first
        while time.monotonic() < deadline:
            time.sleep(pause_s(answer.headers))
            answer = ask()
            if answer.status_code == _NOT_FOUND:
                return None
            if ready(_checked(answer)):
                return answer
        raise RemoteFailed(
            f"Azure has not finished within azure.wait_s={self.wait_s:g} s; the same command goes on waiting"
        )

    def _again(self, path: str, *, api_version: str, why: str) -> Body:
        """Read a resource whose operation was lost: it may well have been made."""
        found = self.get(path, api_version=api_version)
        if found is None:
            raise RemoteFailed(f"{why} and {path.rsplit('/', 1)[-1]} is not there: the same command makes it again")
        return found


def open_arm(url: str, *, credential: "TokenCredential", scopes: list[str], wait_s: float) -> Arm:
    """Open a resource manager; retries what is busy, registers a provider that the subscription has not used yet."""
    from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy, UserAgentPolicy
    from azure.mgmt.core import ARMPipelineClient
    from azure.mgmt.core.policies import ARMAutoResourceProviderRegistrationPolicy, ARMChallengeAuthenticationPolicy

    policies = [
        RequestIdPolicy(),
        HeadersPolicy({"Accept": "application/json"}),
        UserAgentPolicy("phi_runner"),
        ARMAutoResourceProviderRegistrationPolicy(),
        RetryPolicy(),
        ARMChallengeAuthenticationPolicy(credential, *scopes),
    ]
    client: ARMPipelineClient[Any, Any] = ARMPipelineClient(base_url=url, policies=policies)
    return Arm(client=client, wait_s=wait_s)


@contextmanager
def already_there() -> Iterator[None]:
    """Take a conflict for success: what was to be made is there."""
    from azure.core.exceptions import ResourceExistsError

    try:
        yield
    except ResourceExistsError as err:
        if err.error is None or err.error.code not in {"RoleAssignmentExists", "RoleAssignmentUpdateNotPermitted"}:
            raise


def pause_s(headers: Mapping[str, str]) -> float:
    """Return how long an answer asks to wait, in seconds."""
    for name, unit_s in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if value.replace(".", "", 1).isdigit():
            return float(value) * unit_s
    return _PAUSE_S


def _checked(answer: "HttpResponse") -> "HttpResponse":
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ResourceExistsError,
        ResourceNotFoundError,
    )

    if answer.status_code < 400:
        return answer
    kinds = {
        _NOT_FOUND: ResourceNotFoundError, _CONFLICT: ResourceExistsError, _UNAUTHORISED: ClientAuthenticationError
    }  # fmt: skip
    raise kinds.get(answer.status_code, HttpResponseError)(response=_parsed(answer))


def _parsed(answer: "HttpResponse") -> Any:
    """Return the answer as azure-core's errors want it: their two kinds of response differ in type alone."""
    return answer


def _body(answer: "HttpResponse") -> Body:
    found: Body = answer.json() if answer.content.strip() else {}
    return found


def _state(answer: "HttpResponse") -> str:
    body = _body(answer)
    return str(body.get("status") or (body.get("properties") or {}).get("provisioningState") or "Succeeded").lower()


def _status_ended(answer: "HttpResponse") -> bool:
    return _state(answer) in _ENDED


def _provisioned(answer: "HttpResponse") -> bool:
    properties = _body(answer).get("properties") or {}
    return str(properties.get("provisioningState") or "Succeeded").lower() in _ENDED


def _no_longer_accepted(answer: "HttpResponse") -> bool:
    return bool(answer.status_code != _ACCEPTED)


def _raise_unless_succeeded(ended: "HttpResponse") -> None:
    from azure.core.exceptions import HttpResponseError

    if _state(ended) != "succeeded":
        raise HttpResponseError(f"the operation ended as {_state(ended)}", response=_parsed(ended))


def _lost(answer: "HttpResponse") -> str:
    request = answer.headers.get("x-ms-request-id", "")
    return "Azure has lost track of the operation" + (f" (request {request})" if request else "")
