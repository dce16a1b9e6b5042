"""The endpoint's state, and the way of every request: checked, made into a prompt, given a slot, answered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from phi_runner.model.answering import Engine, Finish, Finished, PromptRefused, PromptTooLong, Sampling
from phi_runner.serve.refusals import Refusal, invalid
from phi_runner.serve.settings import Settings
from phi_runner.serve.slots import Slot, Slots, unless_gone
from phi_runner.serve.stops import StopTexts


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something to answer: the prompt's tokens, how to sample, and what ends the answer."""

    prompt: list[int]
    sampling: Sampling
    stops: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Service:
    """One endpoint; `engine` is None until the model is loaded."""

    settings: Settings
    engine: Engine | None = None
    slots: Slots = field(init=False)

    def __post_init__(self) -> None:
        limits = self.settings
        self.slots = Slots(
            limits.max_concurrent, max_queue_wait_s=limits.max_queue_wait_s, request_timeout_s=limits.request_timeout_s
        )

    def loaded(self) -> Engine:
        """Return the engine; raises Refusal 503 while the model is being loaded."""
        if self.engine is None:
            raise Refusal(503, "the model is being loaded", kind="loading", headers={"Retry-After": "1"})
        return self.engine

    async def question(
        self, messages: Sequence[dict[str, str]], *, sampling: Sampling, stops: Sequence[str] = (),
        fields: Sequence[str], whole: str, limit: str,
    ) -> Question:  # fmt: skip
        """Make a prompt; `fields`, `whole` and `limit` name the texts, all of them and the length in the body."""
        engine = self.loaded()
        for name, message in zip(fields, messages, strict=True):
            for marker in engine.markers:
                if marker in message["content"]:
                    raise invalid(name, f"{marker} is reserved: send plain text, the chat template is applied here")
        if sampling.max_new_tokens >= engine.context:
            raise invalid(limit, f"must be less than the model's context of {engine.context} tokens")
        try:
            prompt = await asyncio.to_thread(engine.tokenise, messages, max_new_tokens=sampling.max_new_tokens)
        except PromptTooLong as err:
            raise Refusal(413, f"{whole}: {err}", kind="prompt_too_long", param=whole) from err
        except PromptRefused as err:
            raise invalid(whole, str(err)) from err
        return Question(prompt=prompt, sampling=sampling, stops=stops)

    async def take_slot(self, request: Request) -> Slot:
        """Wait for a slot, unless the client hangs up or the wait gets too long."""
        return await unless_gone(request, self.slots.take(self.loaded()))

    async def answers(self, request: Request, questions: Sequence[Question]) -> list[tuple[str, Finished]]:
        """Answer one request's questions one after the other, in one slot."""
        slot = await self.take_slot(request)
        try:
            return await unless_gone(request, _answer_all(slot, questions))
        finally:
            slot.leave()


async def _answer_all(slot: Slot, questions: Sequence[Question]) -> list[tuple[str, Finished]]:
    return [await _answer(slot, question) for question in questions]


async def _answer(slot: Slot, question: Question) -> tuple[str, Finished]:
    text = ""
    async for piece in spoken(slot, question):
        if isinstance(piece, Finished):
            return text, piece
        text += piece
    raise RuntimeError("an answer ended without saying how")


async def spoken(slot: Slot, question: Question) -> AsyncIterator[str | Finished]:
    """Yield an answer's text as it comes, cut at the first stop text, then how it ended."""
    stops = StopTexts(question.stops)
    async for piece in slot.pieces(question.prompt, sampling=question.sampling):
        if isinstance(piece, Finished):
            if not stops.hit and (rest := stops.rest()):
                yield rest
            reason = Finish.stop if stops.hit else piece.reason
            yield Finished(reason=reason, prompt_tokens=piece.prompt_tokens, completion_tokens=piece.completion_tokens)
        elif not stops.hit:
            if shown := stops.feed(piece):
                yield shown
            if stops.hit:
                slot.stop()
