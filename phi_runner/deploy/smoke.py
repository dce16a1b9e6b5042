"""The smoke test: a real question in every contract that an endpoint promises, and a stranger at the door."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from phi_runner.deploy import probe
from phi_runner.errors import DeployFailed, RemoteFailed

QUESTION = "Who founded Microsoft?"
_TOKENS = 16
_TURN = [{"role": "user", "content": QUESTION}]
_GREEDY = {"max_new_tokens": _TOKENS, "do_sample": False}
_FIRST_FORM = {"input_data": [QUESTION], "params": _GREEDY}
_SECOND_FORM = {"input_data": {"input_string": _TURN, "parameters": _GREEDY}}
PASSING_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses after an answer that may pass: a gateway that does not know its new deployment yet, or is busy."""
_REFUSED = {"413", "422"}
"""What the model itself answers to a prompt that it cannot take; Azure's gateway tells it in a header."""
_PASSING = {404, 408, 429, 502, 503, 504}


def test_endpoint(url: str, *, key: str, timeout_s: float, deployment: str) -> str:
    """Ask a real question in every form, look at every route, return the answer; raises DeployFailed when one fails.

    `deployment` asks that one behind a gateway, an empty name whoever has the traffic. The answer may be empty: a model
    may end its turn at once, which is no fault of the endpoint.
    """
    with probe.client(url, key=key, deployment=deployment, timeout_s=timeout_s) as client:
        try:
            return _smoke_test(client)
        except httpx.TransportError as err:
            raise DeployFailed(f"the endpoint at {url} stopped answering in its smoke test: {err}") from err


def _smoke_test(client: httpx.Client) -> str:
    for path in ("/health/live", "/health/ready", "/v1/models", "/metrics", "/swagger.json"):
        _expect(client.get(path), httpx.codes.OK)
    stranger = client.post("/score", json={"input_data": [QUESTION]}, headers={"Authorization": "Bearer no-such-key"})
    _expect(stranger, httpx.codes.UNAUTHORIZED)
    answers = {
        "/score (input_data list)": _ask(client, "/score", _FIRST_FORM, [0]),
        "/score (input_string)": _ask(client, "/score", _SECOND_FORM, ["output"]),
        "/v1/chat/completions": _ask(
            client, "/v1/chat/completions", {"messages": _TURN, "max_tokens": _TOKENS, "temperature": 0},
            ["choices", 0, "message", "content"],
        ),
        "/v1/chat/completions (stream)": _streamed(client),
    }  # fmt: skip
    return _same(answers)


def _streamed(client: httpx.Client) -> str:
    """Return what a stream of events says; raises DeployFailed when it does not come to its end."""
    body = {"messages": _TURN, "max_tokens": _TOKENS, "temperature": 0, "stream": True}
    response = client.post("/v1/chat/completions", json=body)
    _expect(response, httpx.codes.OK)
    *events, end = [line.removeprefix("data: ") for line in response.text.split("\n") if line] or [""]
    try:
        text = "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as err:
        raise DeployFailed(f"the stream has events of another form than promised: {response.text[:200]}") from err
    if end != "[DONE]":
        raise DeployFailed(f"the stream does not end with [DONE] but with {end[:200]}")
    return text


def _same(answers: dict[str, str]) -> str:
    if len(set(answers.values())) > 1:
        raise DeployFailed(f"the routes disagree on {QUESTION!r}: {answers}")
    return next(iter(answers.values()))


def prove_behind_gateway(
    url: str, *, key: str, deployment: str, text_form: bool, chat_form: bool, timeout_s: float,
    passing_s: Sequence[float] = PASSING_S, pause: Callable[[float], None] = time.sleep,
) -> str:  # fmt: skip
    """Ask a deployment behind Azure's gateway, an empty name for whoever has the traffic, in the forms it answers.

    `url` is the score URL. The answer may be empty. Raises DeployFailed when it is wrong, RemoteFailed when the gateway
    cannot be reached.
    """
    body: dict[str, Any] = _FIRST_FORM if text_form else _SECOND_FORM
    with behind_gateway(key=key, deployment=deployment, timeout_s=timeout_s) as client:
        try:
            first = _first_answer(client, url, body=body, pauses_s=passing_s, pause=pause)
            answers = {"input_data list": _taken(first, [0])} if text_form else {}
            stranger = client.post(url, json=body, headers={"Authorization": "Bearer no-such-key"})
            _expect(stranger, httpx.codes.UNAUTHORIZED)
            if chat_form:
                answers["input_string"] = _ask(client, url, _SECOND_FORM, ["output"])
        except httpx.TransportError as err:
            raise RemoteFailed(f"the endpoint at {url} cannot be reached ({type(err).__name__}: {err})") from err
    return _same(answers)


@contextmanager
def behind_gateway(*, key: str, deployment: str, timeout_s: float) -> Iterator[httpx.Client]:
    """Open a client for Azure's gateway; `deployment` asks that one past the division of the traffic."""
    headers = {"Authorization": f"Bearer {key}"} | ({probe.PINNED_HEADER: deployment} if deployment else {})
    with httpx.Client(headers=headers, timeout=httpx.Timeout(timeout_s, connect=30.0)) as client:
        yield client


def answer(
    client: httpx.Client, url: str, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int
) -> str | None:  # fmt: skip
    """Return the greedy answer to a dialogue, None when it is refused as it is; raises like `prove_behind_gateway`."""
    parameters = {"max_new_tokens": max_new_tokens, "do_sample": False}
    body = {"input_data": {"input_string": list(messages), "parameters": parameters}}
    try:
        response = _first_answer(client, url, body=body, pauses_s=PASSING_S, pause=time.sleep)
    except httpx.TransportError as err:
        raise RemoteFailed(f"the endpoint at {url} cannot be reached ({type(err).__name__}: {err})") from err
    status = response.headers.get("ms-azureml-model-error-statuscode", str(response.status_code))
    return None if status in _REFUSED else _taken(response, ["output"])


def _first_answer(
    client: httpx.Client, url: str, *, body: dict[str, Any], pauses_s: Sequence[float], pause: Callable[[float], None]
) -> httpx.Response:
    """Ask until the answer is one that lasts."""
    for pause_s in pauses_s:
        response = client.post(url, json=body)
        if response.status_code not in _PASSING:
            return response
        pause(pause_s)
    return client.post(url, json=body)


def _expect(response: httpx.Response, status: int) -> None:
    if response.status_code != status:
        path, said = response.request.url.path, f"{_reason(response)}{response.text[:200]}"
        raise DeployFailed(f"{path} answered {response.status_code} where {status} was expected: {said}")


def _reason(response: httpx.Response) -> str:
    """Return what the model itself answered, where Azure's gateway made a 424 of it."""
    status = response.headers.get("ms-azureml-model-error-statuscode", "")
    return (
        f"the model answered {status} {response.headers.get('ms-azureml-model-error-reason', '')}: " if status else ""
    )


def _ask(client: httpx.Client, path: str, body: dict[str, Any], place: list[str | int]) -> str:
    return _taken(client.post(path, json=body), place)


def _taken(response: httpx.Response, place: list[str | int]) -> str:
    """Return the text at a place of an answer; raises DeployFailed when it is none, or another form than promised."""
    _expect(response, httpx.codes.OK)
    problem = f"{response.request.url.path} answered in another form than promised: {response.text[:200]}"
    try:
        found = response.json()
        for step in place:
            found = found[step]
    except (ValueError, KeyError, IndexError, TypeError) as err:
        raise DeployFailed(problem) from err
    if isinstance(found, dict):
        found = found.get("0")  # an older image of the model catalog answers with a table
    if not isinstance(found, str):
        raise DeployFailed(problem)
    return found
