"""What goes over the wire in a chat: the request in both forms, the answer as it streams, refusals in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from phi_runner.errors import DeployFailed

Message: TypeAlias = dict[str, str]

LONGEST_WAIT_S = 300.0
"""The tutorials' 120 s for a free slot and 180 s for the answer."""
CONNECT_WAIT_S = 10.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MODEL_STATUS = "ms-azureml-model-error-statuscode"
"""Azure's gateway answers 424 where the model refuses; this header holds the model's own status."""


class TurnFailed(DeployFailed):
    """This question got no answer, the next one may: the endpoint is busy, or the dialogue is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How an answer is to be made."""

    max_new_tokens: int
    temperature: float
    seed: int | None = None


def chat_body(messages: list[Message], wishes: Wishes) -> dict[str, object]:
    """Return a streamed request for `/v1/chat/completions`, answered by whichever model the endpoint serves by now."""
    body: dict[str, object] = {
        "messages": messages, "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": wishes.max_new_tokens, "temperature": wishes.temperature,
    }  # fmt: skip
    return body if wishes.seed is None else {**body, "seed": wishes.seed}


def score_body(messages: list[Message], wishes: Wishes, *, chat_form: bool) -> dict[str, object]:
    """Return a request for `/score`: the whole dialogue, or where that form is not answered the last question alone."""
    parameters: dict[str, object] = {"max_new_tokens": wishes.max_new_tokens}
    if wishes.temperature > 0 or chat_form:
        parameters["temperature"] = wishes.temperature
    if chat_form:
        return {"input_data": {"input_string": messages, "parameters": parameters}}
    parameters |= {"do_sample": wishes.temperature > 0, "return_full_text": False}
    return {"input_data": [messages[-1]["content"]], "params": parameters}


def answer_in(text: str) -> str:
    """Return the answer in a reply of `/score`, in any form that Azure's images use; raises TurnFailed."""
    try:
        values = json.loads(text)
        if isinstance(values, list):
            return str(values[0]["0"] if isinstance(values[0], dict) else values[0])
        return str(values["output"])
    except (ValueError, KeyError, TypeError, IndexError):
        raise TurnFailed(f"the endpoint answered in another form than promised: {text[:200]}") from None


class Stream:
    """An answer in server-sent events: its text piece by piece, and what is told beside it."""

    def __init__(self) -> None:
        self.done = False
        self.cut = False
        """True when the answer ended because it was as long as it may be."""
        self.tokens: int | None = None
        """Length of the answer."""
        self.model = ""
        """Which model answered."""

    def feed(self, line: str) -> str:
        """Return the text in one line of the stream, nothing where it holds none; raises TurnFailed on an error."""
        if not line.startswith("data:"):
            return ""
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self.done = True
            return ""
        try:
            event = json.loads(data)
        except ValueError as err:
            raise TurnFailed("the endpoint's stream cannot be read: ask again") from err
        if "error" in event:
            raise TurnFailed(f"the endpoint failed: {detail(data.encode())}")
        self.model = event.get("model") or self.model
        usage = event.get("usage") or {}
        self.tokens = usage.get("completion_tokens", self.tokens)
        return "".join(self._piece(choice) for choice in event.get("choices") or [])

    def _piece(self, choice: dict[str, object]) -> str:
        self.cut = self.cut or choice.get("finish_reason") == "length"
        delta = choice.get("delta")
        return str(delta.get("content") or "") if isinstance(delta, dict) else ""

    def check_whole(self) -> None:
        """Raise TurnFailed when the stream has ended before the answer has."""
        if not self.done:
            raise TurnFailed("the endpoint broke off its answer: ask again")


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, url: str) -> DeployFailed:
    """Say in one line why the endpoint refused; `headers` are found by lower-case names."""
    reason, retry_after = detail(body), headers.get("retry-after", "")
    match int(headers.get(_MODEL_STATUS) or status):
        case 401 | 403 as found:
            return DeployFailed(
                f"the endpoint at {url} refuses the key ({found}): start it again, with deploy among the stages"
            )
        case 404 | 405 as found:
            return DeployFailed(f"{url} is not a chat endpoint ({found}): start one with stages=[deploy,chat]")
        case 429:
            wait = f" in {retry_after} s" if retry_after else ""
            return TurnFailed(f"the endpoint is busy (429): ask again{wait}")
        case 408 | 504 as found:
            return TurnFailed(f"the endpoint took too long ({found}): ask again, or allow fewer tokens")
        case 400 | 413 | 422 as found:
            return TurnFailed(f"the endpoint refuses this dialogue ({found}): {reason}; start a new one")
        case found:
            return TurnFailed(f"the endpoint failed ({found}): {reason}")


def detail(body: bytes) -> str:
    """Return the message in an error reply: OpenAI's `error.message`, FastAPI's `detail`, or the text itself."""
    text = body.decode("utf-8", "replace")
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if isinstance(values, dict):
        error = values.get("error", values.get("detail", text))
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    return " ".join(text.split())[:300] or "no reason given"


def too_slow() -> TurnFailed:
    """Return what a person reads when no answer came in time."""
    return TurnFailed(f"no answer within {LONGEST_WAIT_S:.0f} s: ask again")


def gone(url: str, why: str) -> DeployFailed:
    """Return what a person reads when nobody listens at the endpoint's address."""
    return DeployFailed(f"the endpoint at {url} is gone ({why}): start it again with +recipe=chat")
