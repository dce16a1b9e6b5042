"""The endpoint's state, and the way of every request: checked, made into a prompt, given a slot, answered."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from phi_runner.model.answering import Engine, Finished, Prompt, PromptRefused, PromptTooLong, Sampling
from phi_runner.serve.answers import Answer, Deadline, Question, unless_gone
from phi_runner.serve.metrics import Metrics
from phi_runner.serve.refusals import Refusal, invalid
from phi_runner.serve.settings import Settings
from phi_runner.serve.slots import Slots

log = logging.getLogger("phi_runner.serve")


@dataclass(slots=True, kw_only=True)
class Service:
    """One endpoint; `engine` is None until the model is loaded."""

    settings: Settings
    engine: Engine | None = None
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = field(default=False, init=False)
    """True once the endpoint is ending: nothing new is begun."""
    _slots: Slots | None = field(default=None, init=False)
    _open: int = field(default=0, init=False)
    _idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def loaded(self) -> Engine:
        """Return the engine; raises Refusal 503 while the model is being loaded."""
        if self.engine is None:
            raise Refusal(503, "the model is being loaded", kind="loading", headers={"Retry-After": "1"})
        return self.engine

    @property
    def names(self) -> list[str]:
        """What clients may call the model: as it is registered, with or without version, as the endpoint, or not."""
        return [self.settings.label, self.settings.label.partition("/")[0], self.settings.name, ""]

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is dealt with."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def drain(self, *, within_s: float) -> bool:
        """Begin nothing new from now on, wait for the requests in progress, end the engine.

        Says whether all of them were answered; those that were not are told so as their answers are broken off.
        """
        self.draining = True
        log.info("draining: %d requests in progress, at most %g s for them", self._open, within_s)
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._open:
                    await self._idle.wait()
        answered = not self._open
        if self.engine:
            await asyncio.to_thread(self.engine.close)
        return answered

    def slots(self) -> Slots:
        """Return the endpoint's slots: as many as the settings say, else as the engine serves best."""
        if self._slots is None:
            limits = self.settings
            self._slots = Slots(
                limits.max_concurrent or self.loaded().slots, max_queue=limits.max_queue,
                max_queue_wait_s=limits.max_queue_wait_s, metrics=self.metrics,
            )  # fmt: skip
        return self._slots

    def check_length(self, field: str, new_tokens: int) -> None:
        """Raise Refusal 422 for an answer that could never fit into the model's context."""
        context = self.loaded().context
        if new_tokens >= context:
            raise invalid(field, f"must be less than the model's context of {context} tokens")

    async def question(
        self, messages: Sequence[dict[str, str]], *, sampling: Sampling, stops: Sequence[str] = (),
        fields: Sequence[str], whole: str, limit: str, total: int | None = None,
    ) -> Question:  # fmt: skip
        """Make a prompt; `fields`, `whole` and `limit` name the texts, all of them and the length in the body.

        `total` bounds prompt and answer together, in place of the sampling's own bound.
        """
        engine = self.loaded()
        self.slots().refuse_if_full()
        for name, message in zip(fields, messages, strict=True):
            for marker in engine.markers:
                if marker in message["content"]:
                    raise invalid(name, f"{marker} is reserved: send plain text, the chat template is applied here")
        new_tokens = 1 if total else sampling.max_new_tokens
        self.check_length(limit, new_tokens)
        try:
            tokens = await asyncio.to_thread(engine.tokenise, messages, max_new_tokens=new_tokens)
        except PromptTooLong as err:
            raise Refusal(413, f"{whole}: {err}", kind="prompt_too_long", param=whole) from err
        except PromptRefused as err:
            raise invalid(whole, str(err)) from err
        if total:
            room = _room(min(total, engine.context), tokens, whole=whole, limit=limit)
            sampling = replace(sampling, max_new_tokens=room)
        return Question(prompt=Prompt(messages=tuple(messages), tokens=tokens), sampling=sampling, stops=stops)

    async def stream(self, request: Request, question: Question) -> tuple[Answer, AsyncIterator[str | Finished]]:
        """Return an answer and its text once the first piece is there: until then a refusal has a status of its own."""
        return await unless_gone(request, self._first(question))

    async def answers(self, request: Request, questions: Sequence[Question]) -> list[tuple[str, Finished]]:
        """Answer one request's questions side by side, in all the slots that nobody else waits for."""
        return await unless_gone(request, self._all(questions))

    async def _enter(self, question: Question) -> Answer:
        now = asyncio.get_running_loop().time
        asked = now()
        free = await self.slots().enter()
        self.metrics.waited(now() - asked)
        timeout_s = self.settings.request_timeout_s
        return Answer(
            question, deadline=Deadline(now() + timeout_s, timeout_s), free=free, metrics=self.metrics, asked=asked
        )

    async def _first(self, question: Question) -> tuple[Answer, AsyncIterator[str | Finished]]:
        answer = await self._enter(question)
        try:
            text = answer.text(self.loaded())
            first = await anext(text)
        except BaseException:
            answer.leave()
            raise
        return answer, _resumed(first, text)

    async def _all(self, questions: Sequence[Question]) -> list[tuple[str, Finished]]:
        first = await self._enter(questions[0])
        try:
            async with first.deadline.kept(), asyncio.TaskGroup() as group:
                tasks = [self._whole(first, group)]
                for question in questions[1:]:
                    free = await self.slots().take()
                    answer = Answer(question, deadline=first.deadline, free=free, metrics=self.metrics)
                    tasks.append(self._whole(answer, group))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    def _whole(self, answer: Answer, group: asyncio.TaskGroup) -> asyncio.Task[tuple[str, Finished]]:
        task = group.create_task(_joined(answer.text(self.loaded())))
        # not in a `finally` of the task: one that is cancelled before it starts has none
        task.add_done_callback(lambda _task: answer.leave())
        return task


def _room(total: int, tokens: Sequence[int], *, whole: str, limit: str) -> int:
    if len(tokens) >= total:
        message = f"{whole}: the prompt has {len(tokens)} tokens, which leaves none of {limit}={total} for an answer"
        raise Refusal(413, message, kind="prompt_too_long", param=whole)
    return total - len(tokens)


async def _joined(pieces: AsyncIterator[str | Finished]) -> tuple[str, Finished]:
    said: list[str] = []
    async for piece in pieces:
        if isinstance(piece, Finished):
            return "".join(said), piece
        said.append(piece)
    raise RuntimeError("an answer ended without saying how")


async def _resumed(first: str | Finished, rest: AsyncIterator[str | Finished]) -> AsyncIterator[str | Finished]:
    yield first
    async for piece in rest:
        yield piece
