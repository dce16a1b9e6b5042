"""Chat in the terminal: a prompt for a person, plain question and answer lines for a pipe."""

import contextlib
import re
import sys
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from phi_runner.chat import feedback
from phi_runner.chat.dialogue import Dialogue
from phi_runner.chat.feedback import Vote
from phi_runner.chat.wire import TurnFailed
from phi_runner.errors import ConfigProblem, StoreProblem

if TYPE_CHECKING:
    from rich.console import Console

HOW_TO = (
    "/new starts afresh, /retry asks again, /up and /down vote, Ctrl-C stops an answer, /quit or Ctrl-D ends the chat"
)
_COMMAND = re.compile(r"/[a-z]+")


class _Line(Enum):
    """What a typed line asks for."""

    nothing = auto()
    new = auto()
    retry = auto()
    up = auto()
    down = auto()
    quit = auto()
    unknown = auto()
    question = auto()


_COMMANDS = {
    "/new": _Line.new, "/retry": _Line.retry, "/up": _Line.up, "/down": _Line.down, "/quit": _Line.quit,
    "/exit": _Line.quit,
}  # fmt: skip


def _read(line: str) -> _Line:
    if not line:
        return _Line.nothing
    if not _COMMAND.fullmatch(line):
        return _Line.question
    return _COMMANDS.get(line, _Line.unknown)


def _clean(text: str) -> str:
    """Drop what would steer the terminal, escape sequences above all: the model's words are not ours."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _say(dialogue: Dialogue, question: str, write: Callable[[str], object]) -> None:
    """Write the answer as it comes; a half-written character in the question cannot be sent and is replaced."""
    sendable = question.encode("utf-8", "replace").decode("utf-8")
    with contextlib.closing(dialogue.answer(sendable)) as pieces:
        for piece in pieces:
            write(_clean(piece))


def _vote(dialogue: Dialogue, wish: _Line, *, votes: Path) -> str:
    """Keep a vote on the last answer and say how many there are; raises StoreProblem with what stands against it."""
    if not dialogue.history:
        raise StoreProblem("there is no answer to vote on yet")
    vote = Vote.up if wish is _Line.up else Vote.down
    prompt, answer = dialogue.history[:-1], dialogue.history[-1]["content"]
    problem = feedback.not_trainable(prompt, answer, whole=dialogue.whole, vote=vote)
    if problem:
        raise StoreProblem(problem)
    return feedback.cast_vote(votes, prompt=prompt, answer=answer, vote=vote, made=dialogue.made()).told()


def pipe(dialogue: Dialogue, *, questions: TextIO, answers: TextIO, votes: Path) -> int:
    """Answer one question a line until the input ends; returns how many. A question without an answer raises."""
    if hasattr(questions, "reconfigure"):
        questions.reconfigure(errors="replace")
    asked = 0
    for line in questions:
        question = line.strip()
        match wish := _read(question):
            case _Line.quit:
                break
            case _Line.new:
                dialogue.history = []
            case _Line.up | _Line.down:
                _vote(dialogue, wish, votes=votes)
            case _Line.unknown:
                raise ConfigProblem(f"{question} is no chat command: {HOW_TO}")
            case _Line.question | _Line.retry:
                question = dialogue.take_back() if wish is _Line.retry else question
                if question:
                    _say(dialogue, question, answers.write)
                    answers.write("\n")
                    answers.flush()
                    asked += 1
            case _Line.nothing:
                pass
    return asked


def _turn(dialogue: Dialogue, question: str, console: "Console") -> None:
    """Show one answer; Ctrl-C stops this answer only."""
    console.print("phi> ", style="bold cyan", end="")
    try:
        _say(dialogue, question, lambda text: console.out(text, end=""))
    except TurnFailed as err:
        console.print(str(err), style="yellow", markup=False)
    except KeyboardInterrupt:
        console.print(" [stopped]", style="dim", markup=False)
    else:
        cut = " [cut here: chat.max_new_tokens=512 allows more]" if dialogue.cut else ""
        console.print(cut, style="dim", markup=False)


def _again(dialogue: Dialogue, console: "Console") -> bool:
    """Ask the last question again, if there is one; an answer that fails leaves the one before in place."""
    before = dialogue.history
    question = dialogue.take_back()
    if not question:
        console.print("there is nothing to ask again", style="yellow")
        return False
    shorter = dialogue.history
    _turn(dialogue, question, console)
    if dialogue.history == shorter:
        dialogue.history = before
    return True


def _note(dialogue: Dialogue, wish: _Line, console: "Console", *, votes: Path) -> None:
    try:
        console.print(_vote(dialogue, wish, votes=votes), style="dim")
    except StoreProblem as err:
        console.print(str(err), style="yellow", markup=False)


def person(dialogue: Dialogue, *, votes: Path) -> int:
    """Talk to the person at the terminal until they leave; returns how many questions they asked."""
    from rich.console import Console

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its line editing
    console, asked = Console(highlight=False), 0
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while (wish := _read(line := input("\nyou> ").strip())) is not _Line.quit:
            match wish:
                case _Line.new:
                    dialogue.history = []
                    console.print("a new dialogue", style="dim")
                case _Line.retry:
                    asked += _again(dialogue, console)
                case _Line.up | _Line.down:
                    _note(dialogue, wish, console, votes=votes)
                case _Line.unknown:
                    console.print(f"{line} is no command: {HOW_TO}", style="yellow", markup=False)
                case _Line.question:
                    asked += 1
                    _turn(dialogue, line, console)
                case _Line.nothing:
                    pass
    console.print()
    return asked


def talk(dialogue: Dialogue, *, votes: Path) -> int:
    """Talk to a person at a terminal, or answer what is piped in; returns the number of questions.

    Votes on answers are kept in the file `votes`.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        return person(dialogue, votes=votes)
    return pipe(dialogue, questions=sys.stdin, answers=sys.stdout, votes=votes)
