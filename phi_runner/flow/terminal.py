"""Chat in the terminal: a prompt for a person, plain question and answer lines for a pipe."""

import contextlib
import re
import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, TextIO

from phi_runner.errors import ConfigProblem
from phi_runner.flow.dialogue import Dialogue, TurnFailed

if TYPE_CHECKING:
    from rich.console import Console

HOW_TO = "/new starts afresh, Ctrl-C stops an answer, /quit or Ctrl-D ends the chat"
_COMMAND = re.compile(r"/[a-z]+")


class _Line(Enum):
    """What a typed line asks for."""

    nothing = auto()
    new = auto()
    quit = auto()
    unknown = auto()
    question = auto()


def _read(line: str) -> _Line:
    if not line:
        return _Line.nothing
    if not _COMMAND.fullmatch(line):
        return _Line.question
    return {"/new": _Line.new, "/quit": _Line.quit, "/exit": _Line.quit}.get(line, _Line.unknown)


def _clean(text: str) -> str:
    """Drop what would steer the terminal, escape sequences above all: the model's words are not ours."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _say(dialogue: Dialogue, question: str, write: Callable[[str], object]) -> None:
    """Write the answer as it comes; a half-written character in the question cannot be sent and is replaced."""
    sendable = question.encode("utf-8", "replace").decode("utf-8")
    with contextlib.closing(dialogue.answer(sendable)) as pieces:
        for piece in pieces:
            write(_clean(piece))


def pipe(dialogue: Dialogue, *, questions: TextIO, answers: TextIO) -> int:
    """Answer one question a line until the input ends; returns how many. A question without an answer raises."""
    if hasattr(questions, "reconfigure"):
        questions.reconfigure(errors="replace")
    asked = 0
    for line in questions:
        match _read(line.strip()):
            case _Line.quit:
                break
            case _Line.new:
                dialogue.history = []
            case _Line.question:
                _say(dialogue, line.strip(), answers.write)
                answers.write("\n")
                answers.flush()
                asked += 1
            case _Line.unknown:
                raise ConfigProblem(f"{line.strip()} is no chat command: use /new or /quit")
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


def person(dialogue: Dialogue) -> int:
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
                case _Line.unknown:
                    console.print(f"{line} is no command: {HOW_TO}", style="yellow", markup=False)
                case _Line.question:
                    asked += 1
                    _turn(dialogue, line, console)
                case _Line.nothing:
                    pass
    console.print()
    return asked


def talk(dialogue: Dialogue) -> int:
    """Talk to a person at a terminal, or answer what is piped in; returns the number of questions."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return person(dialogue)
    return pipe(dialogue, questions=sys.stdin, answers=sys.stdout)
