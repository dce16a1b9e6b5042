"""Ask the endpoint for the next turn of the dialogue: the one node of this flow."""

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


def answer_of(response: httpx.Response, url: str) -> str:
    """Return the text under `output`."""
    try:
        return str(response.json()["output"])
    except (ValueError, KeyError, TypeError):
        raise RuntimeError(f"{url} answered without `output`: {response.text[:200]}") from None


@tool
def integrate_with_promptflow(
    input_data: str,
    chat_history: list[dict[str, dict[str, str]]],
    connection: CustomConnection,
    temperature: float,
    max_new_tokens: int,
) -> str:
    """Return the model's answer to `input_data` after the turns in `chat_history`."""
    url = connection.configs["endpoint"]
    parameters = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    body = {"input_data": {"input_string": messages_of(chat_history, input_data), "parameters": parameters}}
    headers = {"Authorization": f"Bearer {connection.secrets['key']}"}
    try:
        response = CLIENT.post(url, json=body, headers=headers)
    except httpx.TimeoutException:
        raise RuntimeError(f"{url} gave no answer within {TIMEOUT_S:.0f} s") from None
    except httpx.TransportError as err:
        raise RuntimeError(f"{url} cannot be reached: {err}") from None
    if response.status_code != httpx.codes.OK:
        meaning = MEANINGS.get(response.status_code, response.text[:200] or "no reason given")
        raise RuntimeError(f"{url} answered {response.status_code}: {meaning}")
    return answer_of(response, url)
