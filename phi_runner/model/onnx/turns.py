"""Answers in progress: who gets a place, what each turn takes from them, and what is said of it."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from phi_runner.model.answering import EngineFailed, Finish, Finished, Piece, Prompt, Sampling
from phi_runner.model.engines.speech import Speech, unsettled
from phi_runner.model.onnx.decoder import Decoder
from phi_runner.model.onnx.draw import Draw
from phi_runner.model.onnx.memory import Floats, Row

_TURN_TOKENS = 128
"""Tokens of a prompt that are read at once, so that a long one does not silence the others for long."""


@dataclass(eq=False, slots=True, kw_only=True)
class Answer:
    """One answer from the request to its end."""

    prompt: list[int]
    sampling: Sampling
    tell: Callable[[Piece], None]
    speech: Speech
    draw: Draw
    row: Row | None = None
    ahead: list[int] = field(default_factory=list)
    """Tokens that the model has not taken yet: of the prompt, or the one said last."""
    cancelled: bool = False

    def cancel(self) -> None:
        """Let the answer end with the next turn."""
        self.cancelled = True

    def finish(self, reason: Finish) -> None:
        """Say what was held back, and how the answer ended."""
        if rest := self.speech.rest():
            self.tell(rest)
        self.tell(Finished(reason=reason, prompt_tokens=len(self.prompt), completion_tokens=len(self.speech.tokens)))


class Turns:
    """The answers of one model; `submit` may be called from any thread, all else happens in the one that runs it."""

    def __init__(self, decoder: Decoder, *, tokenizer: Any, slots: int, pause_s: float) -> None:
        self._decoder, self._tokenizer, self._slots = decoder, tokenizer, slots
        self._ends = frozenset(decoder.facts.stops)
        self._held, self._pause_s = unsettled(tokenizer), pause_s
        self._waiting: deque[Answer] = deque()
        self._answering: list[Answer] = []
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Queue an answer and return what cancels it; raises EngineFailed once closed."""
        answer = Answer(
            prompt=list(prompt.tokens), sampling=sampling, tell=tell, draw=Draw(sampling),
            speech=Speech(self._tokenizer, held=self._held, pause_s=self._pause_s),
        )  # fmt: skip
        with self._changed:
            if self._closed:
                raise EngineFailed("the engine has ended")
            self._waiting.append(answer)
            self._changed.notify()
        return answer.cancel

    def close(self) -> None:
        """End after the turn in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Answer until closed; whatever goes wrong ends every answer and is raised."""
        why = "the engine has ended"
        try:
            while self._ready():
                self._turn()
        except BaseException as err:
            why = f"the engine failed: {' '.join(str(err).split())[:200] or type(err).__name__}"
            raise
        finally:
            with self._changed:
                self._closed = True
                left = [*self._answering, *self._waiting]
            for answer in left:
                answer.tell(EngineFailed(why))

    def _ready(self) -> bool:
        """Wait for something to do and give places to those who wait; false once closed."""
        with self._changed:
            while not (self._waiting or self._answering or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            while self._waiting and len(self._answering) < self._slots and self._admit(self._waiting[0]):
                self._answering.append(self._waiting.popleft())
        return True

    def _admit(self, answer: Answer) -> bool:
        if answer.cancelled:
            return True
        answer.row = self._decoder.take(len(answer.prompt) + answer.sampling.max_new_tokens)
        if answer.row is None:
            return False
        self._begin(answer, answer.prompt)
        return True

    def _begin(self, answer: Answer, tokens: list[int]) -> None:
        assert answer.row is not None  # noqa: S101 - admitted
        self._decoder.restart(answer.row, tokens=len(tokens))
        answer.ahead = list(tokens)

    def _turn(self) -> None:
        """Take one token of everyone who is answering, then read of the prompts that are not read yet."""
        for answer in [item for item in self._answering if item.cancelled]:
            self._end(answer, Finish.cancelled)
        reading = [item for item in self._answering if len(item.ahead) > 1]
        speaking = [item for item in self._answering if len(item.ahead) == 1]
        if speaking:
            rows = [item.row for item in speaking if item.row]
            scores = self._decoder.step(rows, [item.ahead[0] for item in speaking])
            for answer, found in zip(speaking, scores, strict=True):
                self._say(answer, found)
        left = _TURN_TOKENS
        while reading and left > 0:
            left -= len(reading[0].ahead)
            self._read(reading.pop(0))

    def _read(self, answer: Answer) -> None:
        """Read a prompt's next piece; where it is cut depends on nothing else, so neither does how its sums round."""
        assert answer.row is not None  # noqa: S101 - admitted
        taken, answer.ahead = answer.ahead[:_TURN_TOKENS], answer.ahead[_TURN_TOKENS:]
        scores = self._decoder.read(answer.row, taken)
        if not answer.ahead:
            self._say(answer, scores)

    def _say(self, answer: Answer, scores: Floats) -> None:
        """Choose an answer's next token, say what it adds, and end the answer when it is complete."""
        token = answer.draw.token(scores)
        if text := answer.speech.say(token):
            answer.tell(text)
        if token in self._ends:
            self._end(answer, Finish.stop)
        elif len(answer.speech.tokens) >= answer.sampling.max_new_tokens:
            self._end(answer, Finish.length)
        else:
            self._go_on(answer, token)

    def _go_on(self, answer: Answer, token: int) -> None:
        """Hand the model its own word; where a text outgrows the short frequencies, all of it is read again."""
        assert answer.row is not None  # noqa: S101 - admitted
        if self._decoder.outgrown(answer.row):
            self._begin(answer, [*answer.prompt, *answer.speech.tokens])
        else:
            answer.ahead = [token]

    def _end(self, answer: Answer, reason: Finish) -> None:
        self._answering.remove(answer)
        if answer.row:
            self._decoder.give_back(answer.row)
            answer.row = None
        answer.finish(reason)
