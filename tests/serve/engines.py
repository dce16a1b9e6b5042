"""Engines for the tests: real threads that say words, without a model."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from phi_runner.model.answering import (
    EngineFailed,
    Finish,
    Finished,
    Message,
    Piece,
    Prompt,
    PromptTooLong,
    Sampling,
)


@dataclass(slots=True)
class SlowEngine:
    """Says one word every `pause_s` until it is cancelled; counts the answers in progress."""

    pause_s: float = 0.01
    context: int = 512
    slots: int = 3
    fails_on: str = ""
    """A question whose answer fails after its first word."""
    most_words: int = 10_000
    """It ends an answer of its own accord after so many."""
    markers: tuple[str, ...] = ("<|end|>",)
    busy: int = 0
    most_busy: int = 0
    order: list[str] = field(default_factory=list)
    """What was asked last in each dialogue that was begun, in this order."""
    _stops: list[threading.Event] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Make a token of every word."""
        words = sum(len(message["content"].split()) for message in messages)
        limit = self.context - max_new_tokens
        if words > limit:
            raise PromptTooLong(prompt_tokens=words, limit=limit, context=self.context)
        return list(range(words))

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Begin to say words, in a thread."""
        stop = threading.Event()
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
            self.order.append(prompt.messages[-1]["content"])
        if self.fails_on and prompt.messages[-1]["content"] == self.fails_on:
            return self._fail(tell)
        self._stops.append(stop)
        threading.Thread(target=self._speak, args=(prompt, sampling, tell, stop), daemon=True).start()
        return stop.set

    def _fail(self, tell: Callable[[Piece], None]) -> Callable[[], None]:
        tell("word ")
        with self._lock:
            self.busy -= 1
        tell(EngineFailed("a secret thought"))
        return lambda: None

    def _speak(self, prompt: Prompt, sampling: Sampling, tell: Callable[[Piece], None], stop: threading.Event) -> None:
        said, most = 0, min(sampling.max_new_tokens, self.most_words)
        while said < most and not stop.wait(self.pause_s):
            tell("word ")
            said += 1
        with self._lock:
            self.busy -= 1
        reason = Finish.cancelled if stop.is_set() else Finish.length
        tell(Finished(reason=reason, prompt_tokens=len(prompt.tokens), completion_tokens=said))

    def close(self) -> None:
        """End every answer."""
        for stop in self._stops:
            stop.set()


class MuteEngine(SlowEngine):
    """Refuses to begin."""

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Fail at once."""
        raise EngineFailed("not today")


class BrokenEngine(SlowEngine):
    """Fails in the middle of every answer."""

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Say a word and fail."""

        def speak() -> None:
            tell("word")
            tell(EngineFailed("a secret thought"))

        threading.Thread(target=speak, daemon=True).start()
        return lambda: None
