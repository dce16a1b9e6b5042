"""Answers in progress, side by side: who gets a place, what each step takes, and what is said of it."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from phi_runner.model.answering import EngineFailed, Finish, Finished, Piece, Prompt, Sampling
from phi_runner.model.engines.memory import Memory, Row, Segment
from phi_runner.model.engines.speech import Speech, unsettled

STEP_TOKENS = 128
"""Tokens of prompts that one step takes: a long prompt does not silence the others for long, and of many short ones
that come at once the first are answered early."""


class Draw(Protocol):
    """Chooses an answer's tokens by chance."""

    def token(self, scores: Any) -> int:
        """Return a token for the scores of one position, shape (vocabulary,)."""
        ...


class Model(Protocol):
    """What computes: torch, or onnxruntime."""

    def forward(self, segments: Sequence[Segment], *, asked: Sequence[Segment]) -> Any:
        """Take the next tokens of some answers and return the scores after the `asked` ones, (asked, vocabulary)."""
        ...

    def likeliest(self, scores: Any) -> list[int]:
        """Return the likeliest token of every row of scores."""
        ...

    def draw(self, sampling: Sampling) -> Draw | None:
        """Return what draws an answer's tokens, None where the likeliest is taken."""
        ...


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
        self, model: Model, *, memory: Memory, tokenizer: Any, ends: Collection[int], slots: int, pause_s: float
    ) -> None:  # fmt: skip
        """`ends`: tokens that end an answer; `pause_s`: how long text is gathered before it is told."""
        self._model, self._memory, self._tokenizer = model, memory, tokenizer
        self._ends, self._slots, self._pause_s = frozenset(ends), slots, pause_s
        self._held = unsettled(tokenizer)
        self._waiting: deque[Answer] = deque()
        self._answering: list[Answer] = []
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Queue an answer and return what cancels it."""
        answer = Answer(
            prompt=list(prompt.tokens), sampling=sampling, tell=tell,
            speech=Speech(self._tokenizer, held=self._held, pause_s=self._pause_s),
            draw=self._model.draw(sampling),
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
        self._memory.restart(answer.row, tokens=len(tokens))
        answer.ahead = list(tokens)

    def _step(self) -> None:
        """Take one token of everyone who is answering, and pieces of the prompts that are not read yet."""
        for answer in [item for item in self._answering if item.cancelled]:
            self._end(answer, Finish.cancelled)
        taken, left = [], STEP_TOKENS
        for answer in self._answering:
            assert answer.row is not None  # noqa: S101 - admitted
            if len(answer.ahead) == 1 or left > 0:
                # where a prompt is cut depends on nothing else, so neither does how its sums round
                segment = Segment(row=answer.row, tokens=answer.ahead[:STEP_TOKENS])
                taken.append((answer, segment))
                left -= len(segment.tokens) if len(answer.ahead) > 1 else 0
                answer.ahead = answer.ahead[STEP_TOKENS:]
        if not taken:
            return
        read = [(answer, segment) for answer, segment in taken if not answer.ahead]
        scores = self._model.forward([segment for _answer, segment in taken], asked=[item[1] for item in read])
        if read:
            self._say([answer for answer, _segment in read], scores)

    def _say(self, answers: list[Answer], scores: Any) -> None:
        """Choose each answer's next token, say what it adds, and end the answers that are complete."""
        likeliest = self._model.likeliest(scores)
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
        if self._memory.outgrown(answer.row):
            self._begin(answer, [*answer.prompt, *answer.speech.tokens])
        else:
            answer.ahead = [token]

    def _end(self, answer: Answer, reason: Finish) -> None:
        self._answering.remove(answer)
        if answer.row:
            answer.row.shelf.give_back(answer.row)
            answer.row = None
        answer.finish(reason)
