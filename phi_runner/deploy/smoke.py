"""The smoke test: a real question in all three contracts, and a stranger at the door."""

from typing import Any

import httpx

from phi_runner.deploy import probe
from phi_runner.errors import DeployFailed

QUESTION = "Who founded Microsoft?"
_TOKENS = 16


def test_endpoint(url: str, *, key: str, timeout_s: float) -> str:
    """Ask a real question in all three contracts; return the answer, raise DeployFailed when one does not hold.

    The answer may be empty: a model may end its turn at once, which is no fault of the endpoint.
    """
    with probe.client(url, key=key, timeout_s=timeout_s) as client:
        try:
            return _smoke_test(client)
        except httpx.TransportError as err:
            raise DeployFailed(f"the endpoint at {url} stopped answering in its smoke test: {err}") from err


def _smoke_test(client: httpx.Client) -> str:
    for path in ("/health/live", "/health/ready"):
        _expect(client.get(path), httpx.codes.OK)
    stranger = client.post("/score", json={"input_data": [QUESTION]}, headers={"Authorization": "Bearer no-such-key"})
    _expect(stranger, httpx.codes.UNAUTHORIZED)
    turn, greedy = [{"role": "user", "content": QUESTION}], {"max_new_tokens": _TOKENS, "do_sample": False}
    answers = {
        "/score (input_data list)": _ask(client, "/score", {"input_data": [QUESTION], "params": greedy}, [0]),
        "/score (input_string)": _ask(
            client, "/score", {"input_data": {"input_string": turn, "parameters": greedy}}, ["output"]
        ),
        "/v1/chat/completions": _ask(
            client, "/v1/chat/completions", {"messages": turn, "max_tokens": _TOKENS, "temperature": 0},
            ["choices", 0, "message", "content"],
        ),
    }  # fmt: skip
    if len(set(answers.values())) > 1:
        raise DeployFailed(f"the routes disagree on {QUESTION!r}: {answers}")
    return next(iter(answers.values()))


def _expect(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        path = response.request.url.path
        raise DeployFailed(f"{path} answered {response.status_code} where {status} was expected: {response.text[:200]}")


def _ask(client: httpx.Client, path: str, body: dict[str, Any], place: list[str | int]) -> str:
    response = client.post(path, json=body)
    _expect(response, httpx.codes.OK)
    found = response.json()
    try:
        for step in place:
            found = found[step]
    except (KeyError, IndexError, TypeError) as err:
        raise DeployFailed(f"{path} answered in another form than promised: {response.text[:200]}") from err
    return str(found)
