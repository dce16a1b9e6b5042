"""A conversation on the page: its turns, every answer tried for each, and how each answer was made."""

from dataclasses import dataclass, field
from enum import StrEnum, auto

from phi_runner.chat.feedback import Vote
from phi_runner.chat.wire import Message, Wishes

_SHORT_HASH = 8


class State(StrEnum):
    """What has become of an answer."""

    writing = auto()
    finished = auto()
    cut = auto()
    """It was as long as it may be."""
    stopped = auto()
    failed = auto()


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer, what exactly was asked for it, and how it was made."""

    asked: list[Message]
    wishes: Wishes
    label: str
    engine: str
    template_hash: str
    text: str = ""
    state: State = State.writing
    problem: str = ""
    """Why there is no answer, for the person who asked."""
    tokens: int | None = None
    first_s: float | None = None
    """Time until its first piece."""
    seconds: float = 0.0
    vote: Vote | None = None

    @property
    def whole(self) -> bool:
        """Say whether the model ended it."""
        return self.state is State.finished

    def made(self) -> dict[str, object]:
        """Return how it was made, as a vote keeps it."""
        return {
            "model": self.label, "engine": self.engine, "template_hash": self.template_hash,
            "temperature": self.wishes.temperature, "max_new_tokens": self.wishes.max_new_tokens,
            "seed": self.wishes.seed, "tokens": self.tokens, "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def told(self) -> str:
        """Return how it was made, for people."""
        seed = "" if self.wishes.seed is None else f"seed {self.wishes.seed}"
        length = "" if self.tokens is None else f"{self.tokens} token{'' if self.tokens == 1 else 's'}"
        first = "" if self.first_s is None else f" (first after {self.first_s:.2f} s)"
        template = self.template_hash and f"template {self.template_hash[:_SHORT_HASH]}"
        parts = [
            self.label, self.engine, f"temperature {self.wishes.temperature:g}", f"max {self.wishes.max_new_tokens}",
            seed, length, f"{self.seconds:.1f} s{first}", template,
        ]  # fmt: skip
        return " · ".join(part for part in parts if part)


@dataclass(slots=True, kw_only=True)
class Tries:
    """The answers that one side has given to a question, and which of them counts."""

    answers: list[Answer] = field(default_factory=list)
    chosen: int = 0

    @property
    def shown(self) -> Answer:
        """Return the answer that the conversation goes on from."""
        return self.answers[self.chosen]

    def add(self, answer: Answer) -> None:
        """Take a new answer, which counts from now on."""
        self.answers.append(answer)
        self.chosen = len(self.answers) - 1


@dataclass(slots=True, kw_only=True)
class Turn:
    """A question, and what every side has answered."""

    question: str
    sides: list[Tries]


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The turns so far, under one system prompt."""

    turns: list[Turn] = field(default_factory=list)
    system: str = ""

    def prompt(self, turn: Turn, *, side: int, system: bool = True) -> list[Message]:
        """Return what is asked of a side in this turn; earlier turns that it gave no answer to are left out."""
        begun = system and self.system.strip()
        messages: list[Message] = [{"role": "system", "content": self.system.strip()}] if begun else []
        for earlier in self.turns:
            if earlier is turn:
                break
            text = earlier.sides[side].shown.text
            if text.strip():
                messages.append({"role": "user", "content": earlier.question})
                messages.append({"role": "assistant", "content": text})
        return [*messages, {"role": "user", "content": turn.question}]
