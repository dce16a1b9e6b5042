"""What every no of an endpoint is: a status, a kind, and one JSON body; the gateway says it without any framework."""

from collections.abc import Mapping
from typing import Any

from phi_runner.errors import PhiRunnerError


class Refusal(PhiRunnerError):
    """A request that is not answered."""

    def __init__(
        self, status: int, message: str, *, kind: str, param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON that the client gets."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param}}
