"""Ask an endpoint from the page's server: the key is read here, and what is given up here is given up there too."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.chat import wire
from phi_runner.chat.wire import Message, Stream, Wishes
from phi_runner.errors import DeployFailed

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One endpoint that answers on the page, and what is known of the model behind it."""

    url: str
    label: str
    """Registered name and version."""
    engine: str = ""
    """What makes the answers; empty: not known."""
    template_hash: str = ""
    key_file: str = ""
    """File that holds the key; empty: `key_variable` does."""
    key_variable: str = ""
    scored: bool = False
    """True behind Azure's gateway: `/score`, one answer at a time."""
    chat_form: bool = True
    """False: a dialogue is not understood, the last question alone is asked."""
    system: bool = True
    """False: the model's template leaves a system prompt out."""

    def key(self) -> str:
        """Return the key, read anew each time since it may be changed; raises DeployFailed."""
        if not self.key_file:
            return os.environ[self.key_variable]
        try:
            return Path(self.key_file).read_text(encoding="utf-8").strip()
        except OSError as err:
            raise DeployFailed(
                f"the endpoint's key file {self.key_file} cannot be read ({err.strerror}): "
                "start the endpoint again, with deploy among the stages"
            ) from err


async def ask(
    side: Side, messages: list[Message], *, wishes: Wishes, client: "httpx.AsyncClient", told: Stream
) -> AsyncGenerator[str]:
    """Yield the answer piece by piece, `told` learns the rest; raises TurnFailed or DeployFailed.

    Cancelled or closed early, it hangs up, which frees the slot at the endpoint.
    """
    import httpx

    headers = {"Authorization": f"Bearer {side.key()}"}
    answer = _scored if side.scored else _streamed
    try:
        async with aclosing(answer(side, messages, wishes, client, headers, told)) as pieces:
            async for piece in pieces:
                yield piece
    except httpx.TimeoutException as err:
        raise wire.too_slow() from err
    except httpx.TransportError as err:
        raise wire.gone(side.url, type(err).__name__) from err


async def _streamed(
    side: Side, messages: list[Message], wishes: Wishes, client: "httpx.AsyncClient", headers: dict[str, str],
    told: Stream,
) -> AsyncGenerator[str]:  # fmt: skip
    url, body = f"{side.url}/v1/chat/completions", wire.chat_body(messages, wishes)
    async with client.stream("POST", url, json=body, headers=headers) as response:
        if not response.is_success:
            await response.aread()
            raise _refusal(side, response)
        async for line in response.aiter_lines():
            if piece := told.feed(line):
                yield piece
        told.check_whole()


async def _scored(
    side: Side, messages: list[Message], wishes: Wishes, client: "httpx.AsyncClient", headers: dict[str, str],
    _told: Stream,
) -> AsyncGenerator[str]:  # fmt: skip
    body = wire.score_body(messages, wishes, chat_form=side.chat_form)
    response = await client.post(f"{side.url}/score", json=body, headers=headers)
    if not response.is_success:
        raise _refusal(side, response)
    yield wire.answer_in(response.text)


def _refusal(side: Side, response: "httpx.Response") -> DeployFailed:
    return wire.refusal(response.status_code, response.headers, response.content, url=side.url)
