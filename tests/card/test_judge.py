"""A judge over real HTTP: both orders, ties, unreadable replies, endpoints that fail, keys that stay secret."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from phi_runner.card import content, judge
from phi_runner.card.content import Card
from phi_runner.config.schema import JudgeConfig
from phi_runner.errors import EvaluateFailed
from phi_runner.model.answering import Finish, Finished, Piece, Prompt, Sampling
from tests.card.cards import card, loss
from tests.serve.engines import SlowEngine
from tests.serve.rig import KEY, serving

_SECRET = "sk-never-to-be-seen"


@dataclass
class Bench:
    """A small server of ours: replies are made by `say` from answer A and answer B."""

    say: Callable[[str, str], str] = lambda _first, _second: "[[C]]"
    statuses: list[int] = field(default_factory=list)
    """What the first requests are refused with, in their order."""
    body: bytes | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""


def _part(text: str, title: str) -> str:
    return text.partition(f"[{title}]\n")[2].partition(f"\n[End of {title.lower()}]")[0]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("OPENAI_API_KEY", _SECRET)
    monkeypatch.setattr(judge, "_BACKOFF_S", 0.001)
    with _served(Bench()) as found:
        yield found


@contextmanager
def _served(bench: Bench) -> Iterator[Bench]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bench.asked.append(asked)
            bench.keys.append(self.headers.get("Authorization", ""))
            status = bench.statuses.pop(0) if bench.statuses else 200
            text = asked["messages"][-1]["content"]
            said = bench.say(_part(text, "Answer A"), _part(text, "Answer B"))
            body = bench.body or json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bench.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield bench
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _table(count: int = 12, *, after: str = "good") -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": "Who wrote Hamlet?"}]
    return [
        {"messages": messages, "wanted": "He did.", "before": f"bad {n}", "after": f"{after} {n}"} for n in range(count)
    ]


def _judged(bench: Bench, *, table: list[dict[str, Any]] | None = None, **changes: Any) -> Card:
    config = JudgeConfig(**{"url": bench.url, "model": "the-judge"} | changes)
    return judge.judge(card(loss(3.0, 2.0)), table or _table(), config=config, told=lambda _done: None)


def test_both_orders_are_asked_and_the_better_answer_wins(bench: Bench) -> None:
    bench.say = lambda first, second: "A is right. [[A]]" if first.startswith("good") else "[[B]]"
    made = _judged(bench)
    figure = made.figure("judge")
    assert figure is not None
    assert (figure.before, figure.after, figure.rows, figure.verdict) == (0.0, 1.0, 12, "better")
    assert len(bench.asked) == 24
    firsts = [_part(asked["messages"][-1]["content"], "Answer A")[:4] for asked in bench.asked]
    assert firsts.count("bad ") == firsts.count("good") == 12
    assert bench.asked[0]["model"] == "the-judge"
    assert bench.asked[0]["temperature"] == 0.0
    assert "Who wrote Hamlet?" in bench.asked[0]["messages"][-1]["content"]
    assert made.judge is not None
    assert made.judge["outcomes"][0] == {"row": 0, "score": 1.0, "replies": ("after", "after")}


def test_a_judge_that_always_takes_the_first_says_nothing(bench: Bench) -> None:
    bench.say = lambda _first, _second: "[[A]]"
    made = _judged(bench, table=_table(64), prompts=64, temperature=None)
    figure = made.figure("judge")
    assert figure is not None
    assert (figure.before, figure.after, figure.verdict) == (0.5, 0.5, "no change")
    assert "temperature" not in bench.asked[0]


def test_replies_that_cannot_be_read_are_counted_and_not_guessed(bench: Bench) -> None:
    bench.say = lambda first, _second: "[[A]] or [[B]]" if first.startswith("bad") else "[[A]]"
    made = _judged(bench)
    figure = made.figure("judge")
    assert figure is not None
    assert figure.note == "12 of 24 replies could not be read"
    assert figure.after == 1.0
    bench.say = lambda _first, _second: "I like both."
    made = _judged(bench)
    assert made.figure("judge") is None
    assert made.not_measured["judge"] == "none of the judge's 24 replies could be read"
    bench.body = b"<html>"
    assert _judged(bench).figure("judge") is None


def test_same_answers_are_a_tie_without_being_asked(bench: Bench) -> None:
    made = _judged(bench, table=[row | {"before": "x", "after": " x"} for row in _table()])
    assert not bench.asked
    assert made.judge is not None
    assert made.judge["same"] == 12


def test_an_endpoint_that_fails_for_a_moment_is_asked_again(bench: Bench) -> None:
    bench.statuses = [503, 429, 500]
    bench.say = lambda _first, _second: "[[C]]"
    assert _judged(bench, table=_table(6)).figure("judge") is not None
    assert len(bench.asked) == 12 + 3


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([401] * 99, r"refuses the key in OPENAI_API_KEY \(401\)"),
        ([404] * 99, r"answers 404 for evaluate\.judge\.model=the-judge"),
        ([503] * 99, r"answers 503 .* what was measured is kept"),
    ],
)
def test_an_endpoint_that_refuses_is_named_in_one_line(
    bench: Bench, statuses: list[int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.statuses = statuses
    with caplog.at_level(logging.DEBUG), pytest.raises(EvaluateFailed, match=said) as refused:
        _judged(bench)
    assert _SECRET not in str(refused.value) + caplog.text
    assert bench.keys[0] == f"Bearer {_SECRET}"


def test_nobody_at_the_address(bench: Bench) -> None:
    with pytest.raises(EvaluateFailed, match=r"127\.0\.0\.1:9/v1 does not answer \(ConnectError\)"):
        _judged(bench, url="http://127.0.0.1:9/v1")


def test_the_key_is_nowhere_on_disk(bench: Bench, tmp_path: Path) -> None:
    content.write(_judged(bench), folder=tmp_path)
    assert _SECRET not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_without_its_key_nobody_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EvaluateFailed, match="export OPENAI_API_KEY"):
        _judged(bench)
    assert _judged(bench, key_env="").figure("judge") is not None
    assert bench.keys[0] == ""


class _Judge(SlowEngine):
    """Prefers whatever stands second."""

    context = 10_000

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        tell("Shorter. [[B]]")
        tell(Finished(reason=Finish.stop, prompt_tokens=len(prompt.tokens), completion_tokens=3))
        return lambda: None


def test_an_endpoint_of_our_own_can_judge(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(_Judge(context=10_000)) as client:
        made = _judged(bench, url=f"{client.base_url}/v1", key_env="JUDGE_KEY", model="tiny/1")
    figure = made.figure("judge")
    assert figure is not None
    assert figure.after == 0.5
    assert made.judge is not None
    assert made.judge["outcomes"][0]["replies"] == ("after", "before")
