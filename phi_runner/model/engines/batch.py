"""Answers in progress, side by side: who gets a place, what each step takes, and what is said of it."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from phi_runner.model.answering import EngineFailed, Finish, Finished, Piece, Prompt, Sampling
from phi_runner.model.engines.attention import Segment
from phi_runner.model.engines.decoder import Decoder
from phi_runner.model.engines.draw import Draw
from phi_runner.model.engines.memory import Memory, Row
from phi_runner.model.engines.speech import Speech, unsettled

_STEP_TOKENS = 128
"""Tokens of prompts that one step takes at most: a long prompt does not silence the others for long, and of many short
ones that come at once the first are answered early."""


@dataclass(eq=False, slots=True, kw_only=True)
class Answer:
    """One answer from the request to its end."""

    prompt: list[int]
    sampling: Sampling
    tell: Callable[[Piece], None]
    speech: Speech
    draw: Draw | None
    row: Row | None = None
    ahead: list[int] = field(default_factory=list)
    """Tokens that the model has not taken yet: of the prompt, or the one said last."""
    cancelled: bool = False

    def cancel(self) -> None:
        """Let the answer end with the next step."""
        self.cancelled = True

    def finish(self, reason: Finish) -> None:
        """Say what was held back, and how the answer ended."""
        if rest := self.speech.rest():
            self.tell(rest)
        self.tell(Finished(reason=reason, prompt_tokens=len(self.prompt), completion_tokens=len(self.speech.tokens)))


class Batch:
    """The answers of one model; `submit` may be called from any thread, all else happens in the batch's own."""

    def __init__(
        self, decoder: Decoder, *, tokenizer: Any, ends: set[int], slots: int, budget: int, pause_s: float
    ) -> None:  # fmt: skip

        self._decoder, self._tokenizer, self._ends, self._slots = decoder, tokenizer, ends, slots
        self._held, self._pause_s = unsettled(tokenizer), pause_s
        self._memory = Memory(decoder.shape, budget=budget)
        self._waiting: deque[Answer] = deque()
        self._answering: list[Answer] = []
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Queue an answer and return what cancels it."""
        answer = Answer(
            prompt=list(prompt.tokens), sampling=sampling, tell=tell,
            speech=Speech(self._tokenizer, held=self._held, pause_s=self._pause_s),
            draw=Draw(sampling, device=self._decoder.shape.device) if sampling.temperature > 0 else None,
        )  # fmt: skip
        with self._changed:
            if self._closed:
                raise EngineFailed("the engine has ended")
            self._waiting.append(answer)
            self._changed.notify()
        return answer.cancel

    def close(self) -> None:
        """End after the step in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Answer until closed; whatever goes wrong ends every answer and is raised."""
        why = "the engine has ended"
        try:
            while self._ready():
                self._step()
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
        answer.row = self._memory.take(len(answer.prompt) + answer.sampling.max_new_tokens)
        if answer.row is None:
            return False
        self._begin(answer, answer.prompt)
        return True

    def _begin(self, answer: Answer, tokens: list[int]) -> None:
        """Let the model take all tokens of an answer from the first one on."""
        assert answer.row is not None  # noqa: S101 - admitted
        switch = self._decoder.rope.switch
        answer.row.length, answer.row.long = 0, switch is not None and len(tokens) > switch
        answer.ahead = list(tokens)

    def _step(self) -> None:
        for answer in [item for item in self._answering if item.cancelled]:
            self._end(answer, Finish.cancelled)
        taken, left = [], _STEP_TOKENS
        for answer in self._answering:
            assert answer.row is not None  # noqa: S101 - admitted
            room = 1 if len(answer.ahead) == 1 else left
            if room > 0:
                taken.append((answer, Segment(row=answer.row, tokens=answer.ahead[:room])))
                left -= min(room, len(answer.ahead)) if len(answer.ahead) > 1 else 0
        if not taken:
            return
        whole = [(answer, segment) for answer, segment in taken if len(segment.tokens) == len(answer.ahead)]
        scores = self._decoder.forward([segment for _answer, segment in taken], asked=[item[1] for item in whole])
        for answer, segment in taken:
            answer.ahead = answer.ahead[len(segment.tokens) :]
        if whole:
            self._say([answer for answer, _segment in whole], scores)

    def _say(self, answers: list[Answer], scores: torch.Tensor) -> None:
        """Choose each answer's next token, say what it adds, and end the answers that are complete."""
        likeliest = scores.argmax(-1).tolist()
        for at, answer in enumerate(answers):
            token = answer.draw.token(scores[at]) if answer.draw else likeliest[at]
            if text := answer.speech.say(token):
                answer.tell(text)
            said = answer.speech.tokens
            if token in self._ends:
                self._end(answer, Finish.stop)
            elif len(said) >= answer.sampling.max_new_tokens:
                self._end(answer, Finish.length)
            else:
                self._go_on(answer, token)

    def _go_on(self, answer: Answer, token: int) -> None:
        """Hand the model its own word; where a text outgrows the short frequencies, all of it is read again."""
        assert answer.row is not None  # noqa: S101 - admitted
        if self._decoder.rope.switch == answer.row.length and not answer.row.long:
            self._begin(answer, [*answer.prompt, *answer.speech.tokens])
        else:
            answer.ahead = [token]

    def _end(self, answer: Answer, reason: Finish) -> None:
        self._answering.remove(answer)
        if answer.row:
            answer.row.shelf.give_back(answer.row)
            answer.row = None
        answer.finish(reason)
