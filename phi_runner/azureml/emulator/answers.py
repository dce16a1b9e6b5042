"""The answers that ARM gives: resources, errors, and the headers that pollers follow."""

from typing import Any

from starlette.responses import JSONResponse, Response

from phi_runner.azureml.emulator.cloud import Body, Call, Operation

ARM_HOST = "management.azure.com"
_COMPONENT = {"type": "ComponentName", "info": {"value": "managementfrontend"}}


def ok(body: Body | list[Any], status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a body as JSON."""
    return JSONResponse(body, status, headers=headers)


def error(
    status: int, code: str, message: str, *, details: list[Body] | None = None, more: list[Body] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:  # fmt: skip
    """Return an error as the workspace's front end words it."""
    body = {"code": code, "message": message, "details": details or [], "additionalInfo": [_COMPONENT, *(more or [])]}
    return JSONResponse({"error": body}, status, headers=headers)


def accepted(
    call: Call, operation: Operation, body: Body | None, *, status: int = 201, pause_s: float = 0.15,
    location: str = "",
) -> Response:  # fmt: skip
    """Answer a request that goes on as an operation; `location` replaces the operation's result URL."""
    subscription = call.path.split("/")[2] if call.low.startswith("/subscriptions/") else "none"
    provider = f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/any"
    base, version = f"https://{call.host}{provider}", "?api-version=2022-02-01-preview"
    headers = {
        "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{operation.id}{version}",
        "Location": location or f"{base}/mfeOperationResults/{operation.id}{version}",
        "retry-after-ms": str(int(pause_s * 1000)),
        "x-ms-async-operation-timeout": "PT30M",
    }
    return Response(status_code=status, headers=headers) if body is None else JSONResponse(body, status, headers)
