"""How the agent reaches the endpoint: as OpenAI's chat completions, or over `/score` where there is nothing else."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import openai
import settings
from agent_framework import BaseChatClient, ChatResponse, ChatResponseUpdate, Content, Message, ResponseStream
from agent_framework.openai import OpenAIChatCompletionClient
from anyio import to_thread
from endpoint import MEANINGS, TIMEOUT_S, TOO_LATE, UNREACHED, EndpointFailed, answer


class ScoreClient(BaseChatClient):
    """A chat client for an endpoint that has `/score` alone, as one behind Azure's gateway."""

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_more: Any
    ) -> ResponseStream[ChatResponseUpdate, ChatResponse]:
        """Ask for the whole answer; the agent's streamed runs are the only ones here."""
        dialogue = [{"role": str(message.role), "content": message.text} for message in messages]
        return self._build_response_stream(self._updates(dialogue))

    async def _updates(self, dialogue: list[dict[str, str]]) -> AsyncIterator[ChatResponseUpdate]:
        pieces = await to_thread.run_sync(
            lambda: [*answer(dialogue, url=settings.url(), key=settings.key(), manner=settings.MANNER)]
        )
        contents = [Content.from_text("".join(pieces))]
        yield ChatResponseUpdate(role="assistant", contents=contents, finish_reason="stop")


async def _key() -> str:
    return settings.key()


def make_client() -> BaseChatClient:
    """Return the client that suits the endpoint; its key is read for every request."""
    if not settings.MANNER.streams:
        return ScoreClient()
    base_url = f"{settings.url().removesuffix('/score')}/v1"
    asking = openai.AsyncOpenAI(base_url=base_url, api_key=_key, timeout=TIMEOUT_S, max_retries=0)
    return OpenAIChatCompletionClient(model=settings.SETTINGS["model"], async_client=asking)


def failure_of(err: BaseException) -> EndpointFailed:
    """Return what lies at the bottom of the framework's exceptions, in our words."""
    url = settings.url()
    match err:
        case EndpointFailed():
            return err
        case openai.APIStatusError():
            meaning = MEANINGS.get(err.status_code, " ".join(err.message.split())[:200])
            retry_after = err.response.headers.get("retry-after", "")
            return EndpointFailed(
                f"{url} answered {err.status_code}: {meaning}", status=err.status_code, retry_after=retry_after
            )
        case openai.APITimeoutError():
            return EndpointFailed(f"{url} gave no answer within {TIMEOUT_S:.0f} s", status=TOO_LATE)
        case openai.APIConnectionError():
            return EndpointFailed(f"{url} cannot be reached: {err.__cause__ or err}", status=UNREACHED)
        case openai.APIError():
            return EndpointFailed(f"{url} failed in its answer: {err.message}", status=UNREACHED)
    below = err.__cause__ or err.__context__
    if below is None:
        return EndpointFailed(f"{url} gave no answer: {' '.join(str(err).split())[:200]}", status=UNREACHED)
    return failure_of(below)
