"""A dialogue with the endpoint from the terminal: its history, and each answer as it is written.

A process here streams over `/v1/chat/completions`; behind Azure's gateway there is only `/score`, one answer at a time.
"""

from collections.abc import Generator, Iterator
from types import TracebackType

import httpx

from phi_runner.artifacts import Endpoint
from phi_runner.chat import wire
from phi_runner.chat.wire import Message, Stream, Wishes
from phi_runner.config.schema import ChatConfig


class Dialogue:
    """The turns so far and the connection that the next one uses."""

    def __init__(self, endpoint: Endpoint, *, key: str, config: ChatConfig) -> None:
        self.history: list[Message] = []
        self.cut = False
        """True when the last answer ended because it was as long as it may be."""
        self.whole = False
        """True when the last answer was read to its end."""
        self.wishes = Wishes(max_new_tokens=config.max_new_tokens, temperature=config.temperature)
        self._endpoint = endpoint
        self._client = httpx.Client(
            base_url=endpoint.url, headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(wire.LONGEST_WAIT_S, connect=wire.CONNECT_WAIT_S),
            trust_env=httpx.URL(endpoint.url).host not in wire.LOOPBACK,  # no proxy stands before this machine
        )  # fmt: skip

    def __enter__(self) -> "Dialogue":
        return self

    def __exit__(self, *_exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._client.close()

    def answer(self, question: str) -> Generator[str]:
        """Yield the answer piece by piece; the turn joins the history, also when the reader stops early.

        Raises TurnFailed when only this turn is lost, DeployFailed when the endpoint is; the history stays as it was.
        """
        asked = [*self.history, {"role": "user", "content": question}]
        pieces: list[str] = []
        self.whole = False
        try:
            for piece in self._scored(asked) if self._endpoint.resource else self._streamed(asked):
                pieces.append(piece)
                yield piece
        except httpx.TimeoutException as err:
            raise wire.too_slow() from err
        except httpx.TransportError as err:
            raise wire.gone(self._endpoint.url, type(err).__name__) from err
        except (GeneratorExit, KeyboardInterrupt):
            self._remember(asked, pieces)
            raise
        self._remember(asked, pieces)
        self.whole = not self.cut

    def take_back(self) -> str:
        """Forget the last turn and return its question, nothing when there is none."""
        if not self.history:
            return ""
        question, self.history = self.history[-2]["content"], self.history[:-2]
        return question

    def made(self) -> dict[str, object]:
        """Return how its answers are made, as a vote keeps it."""
        return {
            "model": self._endpoint.model, "template_hash": self._endpoint.template_hash,
            "temperature": self.wishes.temperature, "max_new_tokens": self.wishes.max_new_tokens,
        }  # fmt: skip

    def _streamed(self, asked: list[Message]) -> Iterator[str]:
        body = wire.chat_body(asked, self.wishes)
        with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            self._check(response)
            stream, self.cut = Stream(), False
            for line in response.iter_lines():
                if piece := stream.feed(line):
                    yield piece
            stream.check_whole()
            self.cut = stream.cut

    def _scored(self, asked: list[Message]) -> Iterator[str]:
        """Yield the whole answer; an endpoint that takes texts only is asked the last question alone."""
        self.cut = False
        body = wire.score_body(asked, self.wishes, chat_form=self._endpoint.chat_form)
        response = self._client.post("/score", json=body)
        self._check(response)
        yield wire.answer_in(response.text)

    def _check(self, response: httpx.Response) -> None:
        if not response.is_success:
            raise wire.refusal(response.status_code, response.headers, response.read(), url=self._endpoint.url)

    def _remember(self, asked: list[Message], pieces: list[str]) -> None:
        if pieces:
            self.history = [*asked, {"role": "assistant", "content": "".join(pieces)}]
