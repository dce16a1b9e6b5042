"""An engine whose work a server of its own does: the prompt is ours, the answer is asked for over HTTP."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from phi_runner.model.answering import EngineFailed, Finished, Message, Piece, Prompt, Sampling
from phi_runner.serve.upstream.exchange import Exchange, Telling

if TYPE_CHECKING:
    import httpx

    from phi_runner.model.engines.prompts import Prompts
    from phi_runner.serve.upstream.server import UpstreamServer


class Asking(Protocol):
    """How one kind of server is asked."""

    def __call__(
        self, client: "httpx.AsyncClient", prompt: Prompt, *, sampling: Sampling, telling: Telling
    ) -> Coroutine[Any, Any, Finished]:
        """Ask, tell the text as it comes, return how it ended; raises EngineFailed or httpx.HTTPError."""


class UpstreamEngine:
    """An engine in front of a server that is up; `on_death` is called when that server ends."""

    def __init__(
        self, prompts: "Prompts", *, server: "UpstreamServer", ask: Asking, slots: int,
        on_death: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        self._prompts = prompts
        self._server = server
        self._ask = ask
        self._slots = slots
        self._on_death = on_death
        self._exchange = Exchange(server.socket, name=server.name)
        server.watch(self._gone)

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._prompts.context

    @property
    def slots(self) -> int:
        """How many answers at a time the server was set up for."""
        return self._slots

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as control tokens."""
        return self._prompts.markers

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens by the chat template; raises PromptTooLong or PromptRefused."""
        return self._prompts.tokenise(messages, max_new_tokens=max_new_tokens)

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Begin an answer, return at once with what cancels it."""
        telling = Telling(tell, prompt_tokens=len(prompt.tokens))
        answer = self._ask(self._exchange.client, prompt, sampling=sampling, telling=telling)
        return self._exchange.begin(answer, telling=telling)

    def close(self) -> None:
        """End every answer, then the server."""
        self._exchange.close()
        self._server.close()

    def _gone(self, reason: str) -> None:
        self._exchange.wait_for_ends()  # the connections are broken: what was being said fails by itself
        self._on_death(EngineFailed(reason))
