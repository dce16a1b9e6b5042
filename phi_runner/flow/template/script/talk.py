"""Talk to the flow from a shell: the question on the command line, or one a line from standard input."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from endpoint import EndpointFailed


async def _say(conversation: Any, question: str) -> None:
    async for piece in conversation.ask(question):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


async def _talk(conversation: Any, questions: list[str]) -> None:
    for question in questions:
        await _say(conversation, question)
    if questions:
        return
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            await _say(conversation, line.strip())


def main(converse: Callable[[], Any]) -> None:
    """Answer what is asked in one conversation; exits with 1 and a line on standard error when the endpoint fails."""
    question = " ".join(sys.argv[1:])
    try:
        asyncio.run(_talk(converse(), [question] if question else []))
    except EndpointFailed as err:
        sys.exit(str(err))
    except KeyboardInterrupt:
        sys.exit(130)
