"""The chat flow as a Microsoft Agent Framework agent: `python flow.py "question"`, or questions line by line."""

import os

os.environ |= {  # read when the framework is imported
    "ENABLE_INSTRUMENTATION": "false",
    "AGENT_FRAMEWORK_USER_AGENT_DISABLED": "true",
    "AGENT_FRAMEWORK_FEATURE_MASK_DISABLED": "true",
    "NO_PROXY": f"{os.environ.get('NO_PROXY', '')},127.0.0.1,localhost,::1".lstrip(","),
}

from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import settings
import talk
from agent_framework import Agent, InMemoryHistoryProvider, Message
from agent_framework.exceptions import AgentFrameworkException
from client import failure_of, make_client
from endpoint import UNREACHED, EndpointFailed, messages_of


@cache
def agent() -> Agent:
    """Return the agent; a session holds each of its conversations."""
    manner = settings.MANNER
    return Agent(
        client=make_client(),
        name=settings.SETTINGS["name"],
        context_providers=[InMemoryHistoryProvider()],
        default_options={"temperature": manner.temperature, "max_tokens": manner.max_new_tokens},
    )


class Conversation:
    """A dialogue with the agent; every answered question joins its session."""

    def __init__(self, chat_history: list[dict[str, Any]] | None = None) -> None:
        *before, _question = messages_of(chat_history or [], "")
        messages = [Message(message["role"], contents=[message["content"]]) for message in before]
        self._session = agent().create_session()
        self._session.state[InMemoryHistoryProvider.DEFAULT_SOURCE_ID] = {"messages": messages}

    async def ask(self, question: str) -> AsyncIterator[str]:
        """Yield the answer piece by piece; raises EndpointFailed."""
        whole = False
        try:
            async for update in agent().run(question, session=self._session, stream=True):
                whole = whole or update.finish_reason is not None
                if update.text:
                    yield update.text
        except AgentFrameworkException as err:
            raise failure_of(err) from None
        if not whole:  # OpenAI's client takes a connection that ends for an answer that ends
            raise EndpointFailed(f"{settings.url()} broke off its answer", status=UNREACHED)


if __name__ == "__main__":
    talk.main(Conversation)
