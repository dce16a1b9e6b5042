"""Chat in the terminal: a person at a real (pseudo) terminal, and a pipe."""

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi_runner.chat import terminal
from phi_runner.chat.dialogue import Dialogue
from phi_runner.config.schema import ChatConfig
from phi_runner.errors import ConfigProblem, DeployFailed
from tests.flow.standin import KEY, StandIn

CTRL_C, CTRL_D = "\x03", "\x04"


class Seat:
    """A place at the terminal: types, and reads what appears."""

    def __init__(self, child: subprocess.Popen[bytes], descriptor: int) -> None:
        self.child, self._descriptor, self._seen = child, descriptor, ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def read_until(self, words: str, *, seconds: float = 15) -> str:
        """Return what appeared up to `words`, without escape sequences."""
        until = time.monotonic() + seconds
        while words not in self._seen and time.monotonic() < until:
            if select.select([self._descriptor], [], [], 0.2)[0]:
                try:
                    data = os.read(self._descriptor, 65536)
                except OSError:  # the other end is closed
                    break
                self._seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen + data.decode())
        before, found, self._seen = self._seen.partition(words)
        assert found, f"{words!r} did not appear, but: {before!r}"
        return before


@contextmanager
def seat(endpoint: StandIn) -> Iterator[Seat]:
    """Sit down at the chat."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tests.chat.terminal_child", endpoint.endpoint.url, endpoint.endpoint.key_file]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as child:
        os.close(theirs)
        try:
            yield Seat(child, ours)
        finally:
            os.close(ours)
            child.kill()


def test_a_person_talks_stops_an_answer_starts_afresh_and_leaves(endpoint: StandIn):
    with seat(endpoint) as at:
        at.read_until("you> ")
        at.type("Hello\r")
        at.read_until("phi> Hello [0 before]")
        at.read_until("you> ")

        endpoint.behaviour.pause_s = 0.3
        at.type("one two three four five six seven\r")
        at.read_until("phi> one two")
        at.type(CTRL_C)
        assert "seven" not in at.read_until("[stopped]")
        endpoint.behaviour.pause_s = 0.0

        at.read_until("you> ")
        at.type("/help\r")
        at.read_until(f"/help is no command: {terminal.HOW_TO}"[:60])
        at.read_until("you> ")
        at.type("/up\r")
        at.read_until("an answer that is not complete would teach")
        at.read_until("you> ")
        at.type("/down\r")
        at.read_until("kept: liked 0, disliked 1, pairs 0")
        at.read_until("you> ")
        at.type("/retry\r")
        at.read_until("phi> one two three four five six seven [2 before]")
        at.read_until("you> ")
        at.type("/up\r")
        at.read_until("kept: liked 1, disliked 1, pairs 1")
        at.read_until("you> ")
        at.type("/new\r")
        at.read_until("a new dialogue")
        at.read_until("you> ")

        endpoint.behaviour.status = 429
        at.type("Busy?\r")
        at.read_until("phi> the endpoint is busy (429): ask again in 7 s")
        endpoint.behaviour.status, endpoint.behaviour.finish = 200, "length"
        at.read_until("you> ")
        at.type("Afresh\r")
        at.read_until("phi> Afresh [0 before]")
        at.read_until("cut here: chat.max_new_tokens=")
        at.read_until("you> ")
        time.sleep(0.3)  # a Ctrl-C in the instant after the prompt is shown waits for the next key: CPython's select
        at.type(CTRL_C)
        at.read_until("asked 5")
        assert at.child.wait(10) == 0


def test_ctrl_d_and_quit_end_the_chat(endpoint: StandIn):
    for leave in (CTRL_D, "/quit\r"):
        with seat(endpoint) as at:
            at.read_until("you> ")
            at.type(leave)
            at.read_until("asked 0")
            assert at.child.wait(10) == 0


def test_endpoint_that_dies_during_the_chat_is_told_in_one_line(endpoint: StandIn):
    with seat(endpoint) as at:
        at.read_until("you> ")
        endpoint.die()
        at.type("Still there?\r")
        at.read_until("error: the endpoint at http://127.0.0.1")
        assert "Traceback" not in at.read_until("is gone (ConnectError): start it again")
        assert at.child.wait(10) == 1


def piped(endpoint: StandIn, text: str) -> str:
    answers = io.StringIO()
    with Dialogue(endpoint.endpoint, key=KEY, config=ChatConfig()) as dialogue:
        votes = Path(endpoint.endpoint.key_file).with_name("votes.jsonl")
        terminal.pipe(dialogue, questions=io.StringIO(text), answers=answers, votes=votes)
    return answers.getvalue()


def test_pipe_answers_line_by_line_with_history(endpoint: StandIn):
    text = "Hello\n\nAgain\n/new\n  Afresh\n/quit\nnever asked\n"
    assert piped(endpoint, text) == "Hello [0 before]\nAgain [2 before]\nAfresh [0 before]\n"


def test_pipe_stops_at_a_question_without_an_answer(endpoint: StandIn):
    endpoint.behaviour.status = 429
    with pytest.raises(DeployFailed, match="busy"):
        piped(endpoint, "Hello\n")


def test_pipe_refuses_a_command_it_does_not_know(endpoint: StandIn):
    with pytest.raises(ConfigProblem, match="/nwe is no chat command: /new starts afresh"):
        piped(endpoint, "/nwe\n")


def test_model_cannot_steer_the_terminal(endpoint: StandIn):
    endpoint.behaviour.answer = "red \x1b[31m\x1b]0;title\x07 and\r\nover"
    assert piped(endpoint, "Hello\n") == "red [31m]0;title and\nover\n"


def test_half_a_character_in_a_question_is_replaced(endpoint: StandIn):
    assert piped(endpoint, "caf\udce9\n") == "caf? [0 before]\n"


def test_pipe_asks_again_and_votes(endpoint: StandIn):
    text = "/retry\nHello\nAgain\n/up\n/down\n/retry\n/quit\n"
    assert piped(endpoint, text) == "Hello [0 before]\nAgain [2 before]\nAgain [2 before]\n"
    votes = Path(endpoint.endpoint.key_file).with_name("votes.jsonl")
    assert votes.read_text() == ""
    assert '"Again [2 before]"' in votes.with_name("votes.down.jsonl").read_text()


def test_retry_that_fails_leaves_the_earlier_answer(endpoint: StandIn):
    with seat(endpoint) as at:
        at.read_until("you> ")
        at.type("/retry\r")
        at.read_until("there is nothing to ask again")
        at.read_until("you> ")
        at.type("Hello\r")
        at.read_until("phi> Hello [0 before]")
        at.read_until("you> ")
        endpoint.behaviour.status = 429
        at.type("/retry\r")
        at.read_until("ask again in 7 s")
        endpoint.behaviour.status = 200
        at.read_until("you> ")
        at.type("Again\r")
        at.read_until("phi> Again [2 before]")
