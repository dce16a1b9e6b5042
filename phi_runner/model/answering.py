"""What an engine is asked and what it gives back, whichever library does the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from queue import Queue
from typing import Protocol, TypeAlias

from phi_runner.errors import PhiRunnerError

Message: TypeAlias = Mapping[str, str]


class Finish(StrEnum):
    """Why an answer ended; the first two are OpenAI's words."""

    stop = auto()
    length = auto()
    cancelled = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How long an answer may be and how its tokens are chosen."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None
    """The same seed gives the same answer, whatever else is being answered; None: another answer each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How an answer ended and how many tokens it took, the one that ended it included."""

    reason: Finish
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A dialogue and its tokens by the chat template; engines take the tokens, Azure's scoring code the dialogue."""

    messages: tuple[Message, ...]
    tokens: list[int]


class EngineFailed(PhiRunnerError):
    """This answer cannot be finished; others may go on."""


class PromptTooLong(PhiRunnerError):
    """The prompt leaves no room for an answer of the length asked for."""

    def __init__(self, *, prompt_tokens: int, limit: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens, at most {limit} fit: the model's context of {context} tokens "
            f"less the {context - limit} new tokens asked for"
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class PromptRefused(PhiRunnerError):
    """The model's own chat template refuses the dialogue."""


Piece: TypeAlias = "str | Finished | EngineFailed"
"""What comes of an answer: pieces of text, and at last how it ended or why it could not."""


class Engine(Protocol):
    """A loaded model; every method may be called from several threads at once."""

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""

    @property
    def slots(self) -> int:
        """How many answers at a time it serves best."""

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as control tokens, so that nobody may write them into a message."""

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Return the prompt's tokens by the chat template; raises PromptTooLong or PromptRefused."""

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Begin an answer, return at once with what cancels it.

        `tell` is called from any thread: with each piece of text as it is said, then exactly once with a Finished or an
        EngineFailed. A cancelled answer ends with a Finished soon after.
        """

    def close(self) -> None:
        """End every answer and let go of the model."""


def ask(engine: Engine, messages: Sequence[Message], *, sampling: Sampling) -> tuple[str, Finished]:
    """Ask and wait for the whole answer; raises PromptTooLong, PromptRefused or EngineFailed."""
    tokens = engine.tokenise(messages, max_new_tokens=sampling.max_new_tokens)
    said: Queue[Piece] = Queue()
    engine.start(Prompt(messages=tuple(messages), tokens=tokens), sampling=sampling, tell=said.put)
    text = ""
    while isinstance(piece := said.get(), str):
        text += piece
    if isinstance(piece, EngineFailed):
        raise piece
    return text, piece
