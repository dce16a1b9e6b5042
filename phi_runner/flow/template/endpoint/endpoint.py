"""The flow's way to the endpoint: a dialogue goes in, the next answer comes out piece by piece."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

TIMEOUT_S = 300.0  # the endpoint's longest wait for a free slot and longest answer together
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MEANINGS = {
    401: "the key is not accepted",
    403: "the key is not accepted",
    404: "nothing answers there; the endpoint must be the score URL",
    413: "the dialogue is too long, start a new one",
    422: "the dialogue cannot be read or is too long, start a new one",
    429: "the endpoint is busy, ask again in a moment",
}
UNREACHED, TOO_LATE = 502, 504

Message = dict[str, str]


class EndpointFailed(RuntimeError):
    """The endpoint gave no answer; `status` is what it said, or 502 and 504 when it said nothing."""

    def __init__(self, words: str, *, status: int, retry_after: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How the endpoint is asked."""

    temperature: float
    max_new_tokens: int
    chat_form: bool
    """False: it answers a list of texts only, so the last question goes alone."""
    streams: bool
    """False: there is only `/score`, one whole answer at a time."""


def messages_of(chat_history: list[dict[str, Any]], input_data: str) -> list[Message]:
    """Return the dialogue as role and content, oldest first; turns that got no answer are left out.

    A turn is `{"inputs": {"input_data": ..}, "outputs": {"answer": ..}}`, or already a message with role and content.
    """
    messages: list[Message] = []
    for turn in chat_history:
        if "role" in turn:
            messages.append({"role": turn["role"], "content": turn["content"]})
            continue
        question, answer = (turn.get("inputs") or {}).get("input_data"), (turn.get("outputs") or {}).get("answer")
        if question and answer:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": input_data}]


def answer(messages: list[Message], *, url: str, key: str, manner: Manner) -> Iterator[str]:
    """Ask, and return the pieces of the answer once the endpoint has begun it; raises EndpointFailed, also later."""
    if manner.streams:
        return _streamed(messages, url=url, key=key, manner=manner)
    response = _send(url, _score_body(messages, manner), key=key, stream=False)
    return iter([_whole(response, url)])


def _streamed(messages: list[Message], *, url: str, key: str, manner: Manner) -> Iterator[str]:
    limits = {"temperature": manner.temperature, "max_tokens": manner.max_new_tokens}
    body = {"messages": messages, "stream": True, **limits}
    chat_url = f"{url.removesuffix('/score')}/v1/chat/completions"
    return _pieces(_send(chat_url, body, key=key, stream=True), url=chat_url)


def _score_body(messages: list[Message], manner: Manner) -> dict[str, Any]:
    parameters: dict[str, Any] = {"temperature": manner.temperature, "max_new_tokens": manner.max_new_tokens}
    if manner.chat_form:
        return {"input_data": {"input_string": messages, "parameters": parameters}}
    sampled = manner.temperature > 0
    if not sampled:
        del parameters["temperature"]
    params = parameters | {"do_sample": sampled, "return_full_text": False}
    return {"input_data": [messages[-1]["content"]], "params": params}


@cache
def _client(*, loopback: bool) -> httpx.Client:
    """Return the one client for such addresses; no proxy stands before this machine."""
    return httpx.Client(timeout=httpx.Timeout(TIMEOUT_S, connect=10.0), trust_env=not loopback)


def _send(url: str, body: dict[str, Any], *, key: str, stream: bool) -> httpx.Response:
    """Return a response whose status is 200; a stream is still to be read."""
    client = _client(loopback=httpx.URL(url).host in LOOPBACK)
    request = client.build_request("POST", url, json=body, headers={"Authorization": f"Bearer {key}"})
    try:
        response = client.send(request, stream=stream)
        if response.status_code != httpx.codes.OK:
            response.read()
    except httpx.HTTPError as err:
        raise _lost(err, url) from None
    if response.status_code != httpx.codes.OK:
        raise _refused(response, url)
    return response


def _lost(err: httpx.HTTPError, url: str) -> EndpointFailed:
    if isinstance(err, httpx.TimeoutException):
        return EndpointFailed(f"{url} gave no answer within {TIMEOUT_S:.0f} s", status=TOO_LATE)
    return EndpointFailed(f"{url} cannot be reached: {err}", status=UNREACHED)


def _refused(response: httpx.Response, url: str) -> EndpointFailed:
    """Say why; Azure's gateway answers 424 where the model refuses, and keeps the model's own status in a header."""
    status = int(response.headers.get("ms-azureml-model-error-statuscode") or response.status_code)
    meaning = MEANINGS.get(status, response.text[:200] or "no reason given")
    retry_after = response.headers.get("retry-after", "")
    return EndpointFailed(f"{url} answered {status}: {meaning}", status=status, retry_after=retry_after)


def _whole(response: httpx.Response, url: str) -> str:
    """Return the text under `output`, or the first one of a list of texts or of `{"0": text}`."""
    try:
        values = response.json()
        if isinstance(values, list):
            first = values[0]
            return str(first["0"] if isinstance(first, dict) else first)
        return str(values["output"])
    except (ValueError, KeyError, TypeError, IndexError):
        words = f"{url} answered in another form than promised: {response.text[:200]}"
        raise EndpointFailed(words, status=UNREACHED) from None


def _pieces(response: httpx.Response, *, url: str) -> Iterator[str]:
    """Yield the pieces of a stream of server-sent events; it is closed when nobody reads on, which frees the slot."""
    try:
        for line in response.iter_lines():
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            if line.startswith("data:"):
                yield from _texts(json.loads(data), url)
    except httpx.HTTPError as err:
        raise _lost(err, url) from None
    finally:
        response.close()
    raise EndpointFailed(f"{url} broke off its answer", status=UNREACHED)


def _texts(event: dict[str, Any], url: str) -> Iterator[str]:
    if "error" in event:
        raise EndpointFailed(f"{url} failed in its answer: {event['error'].get('message', '')}", status=UNREACHED)
    for choice in event.get("choices", []):
        piece = choice.get("delta", {}).get("content")
        if piece:
            yield piece
