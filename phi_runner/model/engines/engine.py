"""An engine whose answers lie in one batch, whatever computes them; it keeps the protocol of `model.answering`."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import psutil

from phi_runner.model.answering import Message, Piece, Prompt, Sampling
from phi_runner.model.engines.batch import Batch

SHARE_OF_MEMORY = 0.5
"""Of what is free once the weights are there, for keys and values."""
Death = Callable[[BaseException], None]


class Prompts(Protocol):
    """A folder's tokenizer and template."""

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as control tokens."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The bare `tokenizers.Tokenizer`."""
        ...

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens; raises PromptTooLong or PromptRefused."""
        ...


def free_memory() -> int:
    """Return how many bytes of the machine's memory keys and values may take."""
    return int(psutil.virtual_memory().available * SHARE_OF_MEMORY)


class BatchEngine:
    """A loaded model that answers in a thread of its own."""

    def __init__(self, batch: Batch, *, prompts: Prompts, slots: int, on_death: Death | None) -> None:
        """`on_death` is called in that thread when the model fails for good; without it the error is raised there."""
        self.slots = slots
        self._prompts = prompts
        self._batch = batch
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)
        self._thread.start()

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._prompts.context

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as control tokens."""
        return self._prompts.markers

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens by the folder's chat template; raises PromptTooLong or PromptRefused."""
        return self._prompts.tokenise(messages, max_new_tokens=max_new_tokens)

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Begin an answer; see the protocol."""
        return self._batch.submit(prompt, sampling=sampling, tell=tell)

    def close(self) -> None:
        """End every answer and the engine's thread."""
        self._batch.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._batch.run()
        except BaseException as err:
            if self._on_death is None:
                raise
            self._on_death(err)
