"""Stand-ins for the two modules of the inference server that scoring scripts import: raw requests and own responses."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

_PACKAGE = "azureml_inference_server_http"
_raw: list[bool] = []


class AMLRequest:
    """A request as a script under `rawhttp` gets it: the part of Flask's that scripts use."""

    def __init__(self, *, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], data: bytes):
        self.method, self.path, self.args, self.headers, self.data = method, path, query, headers, data
        self.content_type = headers.get("content-type", "")

    def get_data(self, cache: bool = True, as_text: bool = False) -> Any:
        """Return the body as bytes, or as text."""
        return self.data.decode("utf-8") if as_text else self.data

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        """Return the parsed body; raises ValueError unless silent."""
        try:
            return json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    @property
    def is_json(self) -> bool:
        """Whether the client says so."""
        return "json" in self.content_type

    @property
    def json(self) -> Any:
        """The parsed body."""
        return self.get_json()


class AMLResponse:
    """A response that a script makes itself; a message that is neither text nor bytes is sent piece by piece."""

    def __init__(
        self, message: Any, status_code: int, response_headers: Mapping[str, str] | None = None,
        json_str: bool = False, run_function_failed: bool = False,
    ) -> None:  # fmt: skip
        as_json = message is None or json_str
        body = json.dumps({} if message is None else message) if as_json else message
        self.response: Iterable[str | bytes] = [body] if isinstance(body, str | bytes) else body
        self.status_code = status_code
        self.headers = {
            "Content-Type": "application/json" if as_json else "text/html; charset=utf-8",
            "x-ms-run-function-failed": str(run_function_failed),
            **(response_headers or {}),
        }


def rawhttp(run: Callable[..., Any]) -> Callable[..., Any]:
    """Let `run` have the request instead of its body's text."""
    _raw.append(True)
    return run


def is_raw() -> bool:
    """Say whether the script has used `rawhttp`."""
    return bool(_raw)


def install() -> None:
    """Let scripts import the stand-ins under the server's own names."""
    parts: dict[str, dict[str, Any]] = {
        _PACKAGE: {},
        f"{_PACKAGE}.api": {},
        f"{_PACKAGE}.api.aml_request": {"AMLRequest": AMLRequest, "rawhttp": rawhttp},
        f"{_PACKAGE}.api.aml_response": {"AMLResponse": AMLResponse},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        module.__path__ = []
        module.__dict__.update(content)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
