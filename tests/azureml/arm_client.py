"""A plain client of the resource manager for tests: the real pipeline and sign-in, no typed models."""

from types import TracebackType
from typing import Any

from azure.core.pipeline.policies import RequestIdPolicy, RetryPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import DefaultAzureCredential
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

from phi_runner.azureml.emulator.settings import SUBSCRIPTION

_HOST = "https://management.azure.com"


class Arm:
    """Sends calls as every Azure client does: signed in, and again where the policy says so."""

    def __init__(self, *, group: str = "tests") -> None:
        self.subscription = f"/subscriptions/{SUBSCRIPTION}"
        self.group = f"{self.subscription}/resourceGroups/{group}"
        self.ml = f"{self.group}/providers/Microsoft.MachineLearningServices"
        self._credential = DefaultAzureCredential()
        policies = [
            RequestIdPolicy(), RetryPolicy(retry_backoff_factor=0.01),
            ARMChallengeAuthenticationPolicy(self._credential, f"{_HOST}/.default"),
        ]  # fmt: skip
        self._client: ARMPipelineClient[HttpRequest, HttpResponse] = ARMPipelineClient(_HOST, policies=policies)

    def __enter__(self) -> "Arm":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._credential.close()

    def send(
        self, method: str, path: str, body: Any = None, *, version: str = "2024-04-01", host: str = _HOST
    ) -> HttpResponse:  # fmt: skip
        """Send one call and return the answer, whatever its status."""
        request = HttpRequest(method, f"{host}{path}", params={"api-version": version}, json=body)
        response: HttpResponse = self._client.send_request(request)
        return response

    def put(self, path: str, body: Any, *, version: str = "2024-04-01") -> Any:
        """PUT a resource that must be accepted; return it."""
        answer = self.send("PUT", path, body, version=version)
        assert answer.status_code in (200, 201, 202), answer.text()
        return answer.json()

    def get(self, path: str, *, version: str = "2024-04-01") -> Any:
        """GET a resource that must be there."""
        answer = self.send("GET", path, version=version)
        assert answer.status_code == 200, answer.text()
        return answer.json()

    def problem(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        """Send a call that must fail; return its status, code and message."""
        answer = self.send(method, path, body)
        assert answer.status_code >= 400, answer.text()
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]
