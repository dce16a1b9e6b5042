"""One person's session on the page: asks, stops, tries again, votes; nothing of it knows how the page looks."""

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.chat import asking, feedback
from phi_runner.chat.asking import Side
from phi_runner.chat.conversation import Answer, Conversation, State, Tries, Turn
from phi_runner.chat.feedback import Kept, Vote
from phi_runner.chat.wire import Stream, Wishes
from phi_runner.errors import PhiRunnerError, StoreProblem

if TYPE_CHECKING:
    import httpx

_LARGEST_SEED = 2**31


@dataclass(slots=True, kw_only=True)
class Controls:
    """What the person has set; it counts from the next answer on."""

    temperature: float
    max_new_tokens: int
    seed: int | None = None
    """None: drawn anew for every answer, and told with it."""

    def wishes(self) -> Wishes:
        """Return how the next answer is made; chance has a seed, so that every answer can be made again."""
        seed = self.seed if self.temperature > 0 else None
        if self.temperature > 0 and seed is None:
            seed = secrets.randbelow(_LARGEST_SEED)
        return Wishes(max_new_tokens=self.max_new_tokens, temperature=self.temperature, seed=seed)


@dataclass(slots=True, kw_only=True)
class Session:
    """A conversation with one or two sides, and the answers that are being written."""

    sides: list[Side]
    client: "httpx.AsyncClient"
    controls: Controls
    feedback_file: Path
    conversation: Conversation = field(default_factory=Conversation)
    writing: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Say whether an answer is being written."""
        return any(not task.done() for task in self.writing)

    def ask(self, question: str) -> Turn:
        """Begin a turn and return it; every side's answer grows in it."""
        turn = Turn(question=question, sides=[Tries() for _ in self.sides])
        self.conversation.turns.append(turn)
        self._answer(turn)
        return turn

    def retry(self, *, side: int) -> None:
        """Ask a side the last question again; the answers that were there stay at hand."""
        self._answer(self.conversation.turns[-1], only=side)

    def _answer(self, turn: Turn, *, only: int | None = None) -> None:
        wishes = self.controls.wishes()
        self.writing = []
        for number, (side, tries) in enumerate(zip(self.sides, turn.sides, strict=True)):
            if only not in {None, number}:
                continue
            answer = Answer(
                asked=self.conversation.prompt(turn, side=number, system=side.system), wishes=wishes, label=side.label,
                engine=side.engine, template_hash=side.template_hash,
            )  # fmt: skip
            tries.add(answer)
            self.writing.append(asyncio.create_task(self._write(side, answer)))

    async def _write(self, side: Side, answer: Answer) -> None:
        """Let an answer grow until it ends, one way or another."""
        begun, told = time.monotonic(), Stream()
        try:
            pieces = asking.ask(side, answer.asked, wishes=answer.wishes, client=self.client, told=told)
            async with aclosing(pieces):
                async for piece in pieces:
                    answer.first_s = answer.first_s or time.monotonic() - begun
                    answer.text += piece
            answer.state = State.cut if told.cut else State.finished
        except asyncio.CancelledError:
            answer.state = State.stopped
        except PhiRunnerError as err:
            answer.state, answer.problem = State.failed, str(err)
        finally:
            answer.seconds, answer.tokens = time.monotonic() - begun, told.tokens
            answer.label = told.model or answer.label

    async def stop(self) -> None:
        """Give up what is being written, here and at the endpoint; what has come so far stays."""
        for task in self.writing:
            task.cancel()
        if self.writing:
            await asyncio.wait(self.writing)
        for tries in self.conversation.turns[-1].sides if self.conversation.turns else ():
            if tries.shown.state is State.writing:  # cancelled before its first step
                tries.shown.state = State.stopped

    async def take_back(self) -> str:
        """Take the last turn away and return its question."""
        await self.stop()
        return self.conversation.turns.pop().question if self.conversation.turns else ""

    async def begin_anew(self) -> None:
        """Forget the turns; the system prompt and the controls stay."""
        await self.stop()
        self.conversation.turns.clear()

    async def vote(self, answer: Answer, vote: Vote) -> Kept:
        """Keep a vote; the same one again takes it back. Raises StoreProblem with what stands against it."""
        wanted = None if answer.vote is vote else vote
        if wanted:
            problem = feedback.not_trainable(answer.asked, answer.text, whole=answer.whole, vote=wanted)
            if problem:
                raise StoreProblem(problem)
        kept = await asyncio.to_thread(
            feedback.cast_vote, self.feedback_file, prompt=answer.asked, answer=answer.text, vote=wanted,
            made=answer.made(),
        )  # fmt: skip
        answer.vote = wanted
        return kept
