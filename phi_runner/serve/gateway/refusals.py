"""What the gateway itself says no to, in the JSON form of every other refusal of an endpoint."""

from aiohttp import web

from phi_runner.serve.refusal import Refusal

BUSY_RETRY_S = 2
"""What a client is told to wait while engines are being started again."""


class Refused(Refusal):
    """A request that no engine answers."""

    def response(self) -> web.Response:
        """Return the whole answer."""
        return web.json_response(self.body(), status=self.status, headers=self.headers)


def too_long(limit: int) -> Refused:
    """Return the refusal of a body; the connection closes, since the rest of it is not read."""
    return Refused(413, f"the body is longer than {limit} bytes", kind="body_too_long", headers={"Connection": "close"})


def no_engine(why: str) -> Refused:
    """Return the refusal while nobody can answer."""
    return Refused(503, why, kind="no_engine", headers={"Retry-After": str(BUSY_RETRY_S)})


def engine_died() -> Refused:
    """Return the refusal of a request that an engine began and did not live to answer."""
    return Refused(
        502, "the engine died while it answered: try again", kind="engine_died",
        headers={"Retry-After": str(BUSY_RETRY_S)},
    )  # fmt: skip


def unknown_deployment(name: str) -> Refused:
    """Return the refusal of a request that asks for a deployment by its name."""
    message = f"azureml-model-deployment: there is no deployment {name[:100]!r}"
    return Refused(404, message, kind="deployment_not_found", param="azureml-model-deployment")


def too_slow(limit_s: float) -> Refused:
    """Return the refusal of a body that does not come to its end."""
    message = f"the body took longer than body_timeout_s={limit_s:g} s to arrive"
    return Refused(408, message, kind="body_too_slow", headers={"Connection": "close"})


def stranger() -> Refused:
    """Return the refusal of a request without the key."""
    return Refused(
        401, "a valid key is needed: send it as 'Authorization: Bearer KEY'", kind="authentication_error",
        headers={"WWW-Authenticate": "Bearer"},
    )  # fmt: skip
