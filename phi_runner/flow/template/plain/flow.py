"""The chat flow as plain Python: `python flow.py "question"`, or questions line by line from standard input."""

from collections.abc import AsyncIterator
from typing import Any

import settings
import talk
from anyio import to_thread
from endpoint import answer, messages_of


class Conversation:
    """A dialogue with the model; every answered question joins it."""

    def __init__(self, chat_history: list[dict[str, Any]] | None = None) -> None:
        self._history: list[dict[str, Any]] = list(chat_history or [])

    async def ask(self, question: str) -> AsyncIterator[str]:
        """Yield the answer piece by piece; raises EndpointFailed."""
        messages, said = messages_of(self._history, question), ""
        pieces = await to_thread.run_sync(
            lambda: answer(messages, url=settings.url(), key=settings.key(), manner=settings.MANNER)
        )
        try:
            while (piece := await to_thread.run_sync(next, pieces, None)) is not None:
                said += piece
                yield piece
        finally:
            if close := getattr(pieces, "close", None):
                close()
        self._history.append({"inputs": {"input_data": question}, "outputs": {"answer": said}})


if __name__ == "__main__":
    talk.main(Conversation)
