"""A dialogue with the endpoint: its history, and each answer as it is written.

A process here streams over `/v1/chat/completions`; behind Azure's gateway there is only `/score`, one answer at a time.
"""

import json
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import ChatConfig
from phi_runner.errors import DeployFailed

if TYPE_CHECKING:
    import httpx

Message: TypeAlias = dict[str, str]

_LONGEST_WAIT_S = 300.0  # the tutorials' 120 s for a free slot and 180 s for the answer
_MODEL_STATUS = "ms-azureml-model-error-statuscode"
"""Azure's gateway answers 424 where the model refuses; this header holds the model's own status."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class TurnFailed(DeployFailed):
    """This question got no answer, the next one may: the endpoint is busy, or the dialogue is too long."""


def _explain(status: int, detail: str, retry_after: str, *, url: str) -> DeployFailed:
    """Say in one line why the endpoint refused."""
    match status:
        case 401 | 403:
            return DeployFailed(
                f"the endpoint at {url} refuses the key ({status}): start it again, with deploy among the stages"
            )
        case 404 | 405:
            return DeployFailed(f"{url} is not a chat endpoint ({status}): start one with stages=[deploy,chat]")
        case 429:
            wait = f" in {retry_after} s" if retry_after else ""
            return TurnFailed(f"the endpoint is busy (429): ask again{wait}")
        case 400 | 413 | 422:
            return TurnFailed(f"the endpoint refuses this dialogue ({status}): {detail}; /new starts a short one")
        case _:
            return TurnFailed(f"the endpoint failed ({status}): {detail}")


def _detail(body: bytes) -> str:
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


def _events(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield the JSON of every server-sent event until `[DONE]`; raises TurnFailed when the stream ends before it."""
    for line in lines:
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        if line.startswith("data:"):
            values = json.loads(data)
            if "error" in values:
                raise TurnFailed(f"the endpoint failed: {_detail(data.encode())}")
            yield values
    raise TurnFailed("the endpoint broke off its answer")


def score_body(messages: list[Message], config: ChatConfig, *, chat_form: bool) -> dict[str, object]:
    """Return a request for `/score`: the whole dialogue, or where that form is not answered the last question alone."""
    parameters: dict[str, object] = {"max_new_tokens": config.max_new_tokens}
    if config.temperature > 0 or chat_form:
        parameters["temperature"] = config.temperature
    if chat_form:
        return {"input_data": {"input_string": messages, "parameters": parameters}}
    parameters |= {"do_sample": config.temperature > 0, "return_full_text": False}
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


class Dialogue:
    """The turns so far and the connection that the next one uses."""

    def __init__(self, endpoint: Endpoint, *, key: str, config: ChatConfig) -> None:
        import httpx

        self.history: list[Message] = []
        self.cut = False
        """True when the last answer ended because it was as long as it may be."""
        self._endpoint, self._config = endpoint, config
        self._client = httpx.Client(
            base_url=endpoint.url, headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(_LONGEST_WAIT_S, connect=10.0),
            trust_env=httpx.URL(endpoint.url).host not in _LOOPBACK,  # no proxy stands before this machine
        )  # fmt: skip

    def __enter__(self) -> "Dialogue":
        return self

    def __exit__(self, *_exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._client.close()

    def answer(self, question: str) -> Generator[str]:
        """Yield the answer piece by piece; the turn joins the history, also when the reader stops early.

        Raises TurnFailed when only this turn is lost, DeployFailed when the endpoint is; the history stays as it was.
        """
        import httpx

        asked = [*self.history, {"role": "user", "content": question}]
        pieces: list[str] = []
        try:
            for piece in self._scored(asked) if self._endpoint.resource else self._streamed(asked):
                pieces.append(piece)
                yield piece
        except httpx.TimeoutException as err:
            raise TurnFailed(f"no answer within {_LONGEST_WAIT_S:.0f} s: ask again") from err
        except httpx.TransportError as err:
            raise DeployFailed(
                f"the endpoint at {self._endpoint.url} is gone ({type(err).__name__}): start it again with +recipe=chat"
            ) from err
        except (GeneratorExit, KeyboardInterrupt):
            self._remember(asked, pieces)
            raise
        self._remember(asked, pieces)

    def _streamed(self, asked: list[Message]) -> Iterator[str]:
        with self._client.stream("POST", "/v1/chat/completions", json=self._body(asked)) as response:
            self._check(response)
            yield from self._pieces(response)

    def _scored(self, asked: list[Message]) -> Iterator[str]:
        """Yield the whole answer; an endpoint that takes texts only is asked the last question alone."""
        self.cut = False
        response = self._client.post("/score", json=score_body(asked, self._config, chat_form=self._endpoint.chat_form))
        self._check(response)
        yield answer_in(response.text)

    def _body(self, messages: list[Message]) -> dict[str, object]:
        return {
            "model": self._endpoint.model, "messages": messages, "stream": True,
            "max_tokens": self._config.max_new_tokens, "temperature": self._config.temperature,
        }  # fmt: skip

    def _check(self, response: "httpx.Response") -> None:
        if response.is_success:
            return
        detail = _detail(response.read())
        status = int(response.headers.get(_MODEL_STATUS) or response.status_code)
        raise _explain(status, detail, response.headers.get("retry-after", ""), url=self._endpoint.url)

    def _pieces(self, response: "httpx.Response") -> Iterator[str]:
        self.cut = False
        for event in _events(response.iter_lines()):
            choices = event.get("choices")
            for choice in choices if isinstance(choices, list) else []:
                self.cut = self.cut or choice.get("finish_reason") == "length"
                piece = choice.get("delta", {}).get("content")
                if piece:
                    yield piece

    def _remember(self, asked: list[Message], pieces: list[str]) -> None:
        if pieces:
            self.history = [*asked, {"role": "assistant", "content": "".join(pieces)}]
