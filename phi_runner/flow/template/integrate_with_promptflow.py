"""Ask the endpoint for the next turn of the dialogue: the one node of this flow."""

from typing import Any

import httpx
from promptflow.connections import CustomConnection
from promptflow.core import tool

TIMEOUT_S = 300.0  # the endpoint's longest wait for a free slot and longest answer together
CLIENT = httpx.Client(timeout=httpx.Timeout(TIMEOUT_S, connect=10.0))

MEANINGS = {
    401: "the key of the connection is not accepted",
    403: "the key of the connection is not accepted",
    404: "nothing answers there; the connection's endpoint must be the score URL",
    413: "the dialogue is too long, start a new one",
    422: "the dialogue cannot be read or is too long, start a new one",
    429: "the endpoint is busy, ask again in a moment",
}


def messages_of(chat_history: list[dict[str, dict[str, str]]], input_data: str) -> list[dict[str, str]]:
    """Return the dialogue as role and content, oldest turn first; turns that got no answer are left out."""
    messages = []
    for turn in chat_history:
        question, answer = (turn.get("inputs") or {}).get("input_data"), (turn.get("outputs") or {}).get("answer")
        if question and answer:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": input_data}]


def body_of(messages: list[dict[str, str]], parameters: dict[str, float], *, chat_form: bool) -> dict[str, Any]:
    """Return the request: the whole dialogue, or the last question where the endpoint takes a list of texts only."""
    if chat_form:
        return {"input_data": {"input_string": messages, "parameters": parameters}}
    sampled = parameters["temperature"] > 0
    params = {name: value for name, value in parameters.items() if sampled or name != "temperature"}
    return {
        "input_data": [messages[-1]["content"]],
        "params": params | {"do_sample": sampled, "return_full_text": False},
    }


def answer_of(response: httpx.Response, url: str) -> str:
    """Return the text under `output`, or the first one of a list of texts or of `{"0": text}`."""
    try:
        answer = response.json()
        if isinstance(answer, list):
            first = answer[0]
            return str(first["0"] if isinstance(first, dict) else first)
        return str(answer["output"])
    except (ValueError, KeyError, TypeError, IndexError):
        raise RuntimeError(f"{url} answered in another form than promised: {response.text[:200]}") from None


def value_of(connection: CustomConnection, name: str) -> str:
    """Return a value of the connection; the one that Azure AI Foundry keeps holds all of them as secrets."""
    return str({**(connection.configs or {}), **(connection.secrets or {})}[name])


@tool
def integrate_with_promptflow(
    input_data: str,
    chat_history: list[dict[str, dict[str, str]]],
    connection: CustomConnection,
    temperature: float,
    max_new_tokens: int,
    chat_form: bool,
) -> str:
    """Return the model's answer to `input_data` after the turns in `chat_history`."""
    url = value_of(connection, "endpoint")
    parameters = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    body = body_of(messages_of(chat_history, input_data), parameters, chat_form=chat_form)
    headers = {"Authorization": f"Bearer {value_of(connection, 'key')}"}
    try:
        response = CLIENT.post(url, json=body, headers=headers)
    except httpx.TimeoutException:
        raise RuntimeError(f"{url} gave no answer within {TIMEOUT_S:.0f} s") from None
    except httpx.TransportError as err:
        raise RuntimeError(f"{url} cannot be reached: {err}") from None
    if response.status_code != httpx.codes.OK:
        status = int(response.headers.get("ms-azureml-model-error-statuscode") or response.status_code)
        meaning = MEANINGS.get(status, response.text[:200] or "no reason given")
        raise RuntimeError(f"{url} answered {status}: {meaning}")
    return answer_of(response, url)
