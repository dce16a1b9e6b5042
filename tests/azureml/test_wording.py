"""Azure's errors in our words, from the bodies that the service really answers with; and no secret in any of them."""

import json

import pytest
from azure.ai.ml.exceptions import JobException, MlException
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import HttpRequest, RequestsTransportResponse
from azure.identity import CredentialUnavailableError
from requests import ConnectionError as NoConnection
from requests import Response

from phi_runner.azureml.wording import in_our_words, said
from phi_runner.errors import DeployFailed, RemoteFailed

SECRETS = ("c2VjcmV0LXNpZ25hdHVyZQ", "eyJhbGciOi.eyJzdWIi.c2ln", "canary-account-key", "canary-password")


def answer(status: int, body: object, **headers: str) -> RequestsTransportResponse:
    """Return a response as azure-core hands it to its errors."""
    internal = Response()
    internal.status_code, internal.reason = status, "Because"
    internal._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    internal.headers.update(headers)
    return RequestsTransportResponse(HttpRequest("GET", "https://management.azure.com/x"), internal)


def refused(
    status: int, code: str | None, message: str, *, kind: type[HttpResponseError] = HttpResponseError, **more: object
) -> HttpResponseError:
    return kind(response=answer(status, {"error": {"code": code, "message": message, **more}}))


def words(err: BaseException) -> str:
    found = said(err, doing="making it")
    assert found.startswith("making it: ")
    assert "\n" not in found
    return found.removeprefix("making it: ")


QUOTA_0 = (
    "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 requested managed "
    "compute node which maps to 2 vCPUs."
)
OUT_OF_QUOTA = (
    "OutOfQuota: Not enough cluster CPU quota. The amount of additional CPU quota requested is 8, and you are "
    "currently using 14. Your amount of maximum quota is 20. https://aka.ms/oe-tsg#error-outofquota"
)
TAKEN = json.dumps(
    {"errors": {"": ["There is already an endpoint with this name, Endpoint name needs to be unique within a region. "
                     "Try some other name."]}}
)  # fmt: skip
FORBIDDEN = (
    "The client 'a@b' with object id 'x' does not have authorization to perform action '{action}' over scope "
    "'/subscriptions/s/resourceGroups/g' or the scope is invalid. If access was recently granted, please refresh your "
    "credentials."
)

CASES: dict[str, tuple[BaseException, str]] = {
    "no az": (
        CredentialUnavailableError("Azure CLI not found on path"),
        "the Azure CLI is not installed: install it from https://aka.ms/azure-cli and run `az login`",
    ),
    "signed out": (
        CredentialUnavailableError("Please run 'az login' to set up an account"),
        "you are not signed in: run `az login`, or type azure.credential=device_code",
    ),
    "no credential": (
        ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token from the included credentials."),
        "run `az login` again",
    ),
    "expired": (
        refused(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.",
                kind=ClientAuthenticationError),
        "the sign-in has expired: run `az login` again",
    ),
    "other tenant": (
        refused(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.",
                kind=ClientAuthenticationError),
        "azure.tenant=TENANT",
    ),
    "subscription": (
        refused(404, "SubscriptionNotFound", "The subscription 's' could not be found."),
        "this account has no such subscription: `az account list -o table`",
    ),
    "cluster quota": (refused(400, "BadRequest", QUOTA_0), f"not enough cores: {QUOTA_0}: ask for more"),
    "deployment quota": (
        refused(200, None, OUT_OF_QUOTA),
        "not enough cores for the deployment: 8 more are needed, 14 of 20 are in use: ask for more in the portal",
    ),
    "job quota": (
        refused(400, "JobNodeCountExceedsCoreQuota", "24 cores > 0"),
        "the job needs more cores than the subscription has",
    ),
    "name taken": (
        refused(400, "BadRequest", "The request is invalid.",
                details=[{"code": "InferencingClientCallFailed", "message": TAKEN}]),
        "the endpoint's name is taken in this region: type deploy.name=ANOTHER",
    ),
    "just deleted": (
        refused(404, "NotFound", "Resource not found.",
                details=[{"code": "InferencingClientCallFailed", "message": '{"title":"Not Found","status":404}'}]),
        "the name is still being given back after a removal: wait some minutes",
    ),
    "storage name": (
        refused(409, "StorageAccountAlreadyTaken", "The storage account named x is already taken.",
                kind=ResourceExistsError),
        "type azure.storage_account=ANOTHER",
    ),
    "unknown compute": (
        refused(400, "UserError", "Unknown compute target 'gpu-x'.", innererror={"code": "UnknownTargetType"}),
        "the workspace has no cluster gpu-x",
    ),
    "image": (
        JobException(message='Exception : \n {"error": {"code": "UserError", "message": "Image build failed for e:3"}}',
                     no_personal_data_message=""),
        "the environment's image could not be built (Image build failed for e:3)",
    ),
    "crash": (
        refused(200, "ResourceNotReady", "User container has crashed or terminated. Please see troubleshooting guide"),
        "the deployment's container did not stay up",
    ),
    "no monitoring": (
        MlException(message="No module named 'azureml.ai'", no_personal_data_message=""),
        "needs azureml-ai-monitoring in the model's requirements",
    ),
    "probe": (
        refused(200, None, "Liveness probe failed: HTTP probe failed with status code: 502"),
        "the deployment did not answer its probe in time",
    ),
    "no roles": (
        refused(403, "AuthorizationFailed", FORBIDDEN.format(action="Microsoft.Authorization/roleAssignments/write")),
        "ask for the role Owner or User Access Administrator on the resource group",
    ),
    "forbidden": (
        refused(403, "AuthorizationFailed",
                FORBIDDEN.format(action="Microsoft.MachineLearningServices/workspaces/write")),
        "this account may not do Microsoft.MachineLearningServices/workspaces/write on /subscriptions/s/"
        "resourceGroups/g: ask for the role Contributor there",
    ),
    "policy": (refused(403, "RequestDisallowedByPolicy", "Resource 'x' was disallowed."), "a policy of your organis"),
    "429": (refused(429, "TooManyRequests", "Slow down."), "Azure asks to slow down (Slow down.): wait a minute"),
    "503": (refused(503, "ServiceUnavailable", "Busy."), "Azure itself failed (Busy.): wait a minute"),
    "no network": (
        ServiceRequestError("HTTPSConnectionPool(host='management.azure.com', port=443): Max retries exceeded"),
        "Azure cannot be reached (",
    ),
    "certificate": (
        ServiceRequestError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        "export REQUESTS_CA_BUNDLE=FILE",
    ),
    "cut": (ServiceResponseError("Connection aborted."), "the connection broke (Connection aborted.)"),
    "region": (
        refused(409, "InvalidResourceGroupLocation", "Invalid resource group location 'eastus2'. The Resource group "
                "already exists in location 'westus'.", kind=ResourceExistsError),
        "it exists in another region: type azure.region=westus",
    ),
    "provider": (
        refused(409, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace "
                "'Microsoft.Quota'. See https://aka.ms/rps-not-found for how to register subscriptions.",
                kind=ResourceExistsError),
        "run `az provider register --namespace Microsoft.Quota --wait`",
    ),
    "no traffic": (
        MlException(message="(404) No valid deployments to route to. Check traffic.", no_personal_data_message=""),
        "no deployment of the endpoint has traffic",
    ),
    "colours": (
        MlException(message="\x1b[31mEndpoint name must be 3 to 32 long\x1b[39m\nmore", no_personal_data_message=""),
        "Endpoint name must be 3 to 32 long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_failure_names_its_next_step(case: str) -> None:
    err, expected = CASES[case]
    assert expected in words(err)


def test_what_nobody_knows_keeps_its_message_code_and_request_id() -> None:
    response = answer(418, {"error": {"code": "Teapot", "message": "I am one.\nMore."}}, **{"x-ms-request-id": "r-1"})
    assert words(HttpResponseError(response=response)) == "I am one. [Teapot] (status 418) [request r-1]"
    assert words(HttpResponseError(response=answer(502, "<html>"))).startswith("Azure itself failed")


def test_secrets_and_tokens_never_come_through() -> None:
    signature, token, key, password = SECRETS
    text = (
        f"GET https://a.blob.core.windows.net/c?sv=2&sig={signature}&se=1 failed, Authorization: Bearer {token}, "
        f"AccountKey={key};EndpointSuffix, password: {password}"
    )
    for err in (
        AzureError(text), refused(418, "Odd", text), refused(503, "Busy", text),
        refused(400, "Odd", f"disallowed by policy {text}"), ServiceRequestError(text),
        MlException(message=text, no_personal_data_message=""),
    ):  # fmt: skip
        found = words(err)
        assert not any(secret in found for secret in SECRETS), found


def test_the_block_raises_the_kind_that_is_asked_for_and_lets_other_errors_pass() -> None:
    with (
        pytest.raises(DeployFailed, match="serving: Azure asks to slow down"),
        in_our_words("serving", kind=DeployFailed),
    ):
        raise refused(429, "TooManyRequests", "Slow down.")
    with pytest.raises(RemoteFailed, match="Azure cannot be reached"), in_our_words("asking"):
        raise NoConnection("refused")
    with pytest.raises(FileNotFoundError), in_our_words("reading"):
        raise FileNotFoundError("mine")
    with pytest.raises(KeyError), in_our_words("looking"):
        raise KeyError("mine")
    with pytest.raises(DeployFailed, match=r"^ours$"), in_our_words("outer"), in_our_words("inner"):
        raise DeployFailed("ours")


def test_the_network_is_recognised_behind_its_wrapping() -> None:
    wrapped = ServiceRequestError("boom", error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED]"))
    assert "REQUESTS_CA_BUNDLE" in words(wrapped)
