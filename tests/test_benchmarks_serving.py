"""The serving benchmarks' own pieces: what counts as lost, leaked, equal, first; figures that are what they say."""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from benchmarks.serving import aims, bandwidth, ours, peers
from benchmarks.serving.ask import Answer, Asked, Dialect, ask
from benchmarks.serving.cases import Case, Manner, Mix
from benchmarks.serving.http import BrokenOff, Connection, Request, Response, post
from benchmarks.serving.ledger import Ledger
from benchmarks.serving.measured import Cell, Measured, cell
from benchmarks.serving.memory import Memory
from benchmarks.serving.model import Reference, bytes_per_token
from benchmarks.serving.visit import Outcome, visit

_KNOWN = {"Why?": Reference(text="Because it is so.", tokens=5)}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_Result = TypeVar("_Result")


def _with_server(answer: bytes, client: Callable[[str], Awaitable[_Result]]) -> _Result:
    """Let a client talk to a server that says the same bytes to everybody and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.write_eof()
            await reader.read()  # closing with bytes unread would reset the connection
            writer.close()
            await writer.wait_closed()
        ended.set()

    async def run() -> _Result:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            result = await client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await ended.wait()
            return result

    ended = asyncio.Event()

    return asyncio.run(run())


def _chunks(*parts: bytes, whole: bool = True) -> bytes:
    return _HEAD + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if whole else b"")


def _event(text: str, **more: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}], **more}).encode() + b"\n\n"


def _json(status: int, body: object, *headers: bytes) -> bytes:
    said = json.dumps(body).encode()
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(said), lines, said)


def _visited(answer: bytes, *, expected: int = 200, **case: object) -> Outcome:
    given = Case(
        kind="chat", request=post("/v1/chat/completions", {}), expected=frozenset({expected}), prompt="Why?",
        **case,  # type: ignore[arg-type]
    )  # fmt: skip
    return _with_server(answer, lambda url: visit(given, url=url, references=_KNOWN))


def test_a_body_in_chunks_is_put_together_and_one_that_breaks_off_is_noticed() -> None:
    async def body(url: str) -> bytes:
        async with Connection(url) as connection:
            await connection.send(Request(path="/", method="GET"))
            response: Response = await connection.response()
            return await response.whole()

    assert _with_server(_chunks(b"one ", b"two"), body) == b"one two"
    for broken in (_chunks(b"one ", whole=False), _json(200, "said")[:-2], b"HTTP/1.1 200 OK\r\nCont"):
        with pytest.raises(BrokenOff):
            _with_server(broken, body)


def test_a_request_is_sent_with_its_length_or_as_a_chunk() -> None:
    counted = Request(path="/score", body=b"{}", headers=(("X", "1"),))
    assert b"Content-Length: 2\r\nX: 1\r\n" in counted.head(host="h")
    chunked = Request(path="/score", body=b"{}", length=False)
    assert b"Transfer-Encoding: chunked" in chunked.head(host="h")
    assert chunked.framed() == b"2\r\n{}\r\n0\r\n\r\n"


def test_a_stream_is_read_with_its_tokens_and_its_first_text() -> None:
    half, rest = _event("Because ")[:9], _event("Because ")[9:] + _event("it is so.", usage={"completion_tokens": 5})
    asked = _with_server(
        _chunks(_event(""), half, rest, _DONE),
        lambda url: ask(["Why?"], url=url, dialect=Dialect.chat_stream, key="k", clients=4),
    )
    [answer] = asked.answers
    assert (answer.text, answer.tokens, answer.problem) == ("Because it is so.", 5, "")
    assert 0 < answer.first_s <= answer.latency_s <= asked.seconds


def test_a_server_that_does_not_stream_is_charged_the_whole_answer() -> None:
    body = [{"choices": [{"message": {"content": "Because it is so. "}}], "usage": {"completion_tokens": 5}}]
    asked = _with_server(
        _json(200, body), lambda url: ask(["Why?"], url=url, dialect=Dialect.invocations, key="", clients=1)
    )
    [answer] = asked.answers
    assert answer.first_s == answer.latency_s
    found = cell(asked, references=_KNOWN, dialect=Dialect.invocations)
    assert found.equal == 1  # MLflow strips blanks
    assert found.decode_rate == 5 / answer.latency_s


def test_a_server_that_says_no_is_a_problem_and_no_answer() -> None:
    asked = _with_server(
        _json(503, {"error": "full"}),
        lambda url: ask(["Why?"], url=url, dialect=Dialect.score, key="", clients=1),
    )
    found = cell(asked, references=_KNOWN, dialect=Dialect.score)
    assert found.rate == 0
    assert found.problem == '1 failed: HTTP 503: {"error": "full"}'


def test_only_the_very_text_of_generate_is_equal_and_tokens_are_never_guessed() -> None:
    answers = [
        Answer(prompt="Why?", text="Because it is so.", first_s=0.2, latency_s=1.0),
        Answer(prompt="Why?", text="Because.", first_s=0.2, latency_s=2.0),
        Answer(prompt="Why?", text="Because.", tokens=2, first_s=0.4, latency_s=3.0),
    ]
    found = cell(Asked(answers=answers, seconds=7.0), references=_KNOWN, dialect=Dialect.chat_stream)
    assert (found.equal, found.asked, found.rate) == (1, 3, 1.0)  # 5 by the reference, none, 2 by the server
    assert (found.first_s, found.latency_s, found.latency_p95_s) == (0.2, 2.0, 3.0)


def test_a_stream_that_just_ends_is_lost_and_one_that_says_why_is_not() -> None:
    assert _visited(_chunks(_event("Because it"), _DONE)).what == "200"
    lost = _visited(_chunks(_event("Because it")))
    assert lost.lost
    assert "a stream without an end" in lost.what
    assert _visited(_chunks(_event("Because it"), whole=False)).lost
    told = _visited(_chunks(_event("Because it"), b'data: {"error": {"type": "engine_died"}}\n\n'))
    assert (told.lost, told.what) == (False, "200, ended by an error event")


def test_no_answer_at_all_is_lost() -> None:
    assert _visited(b"").lost


def test_a_refusal_before_the_body_was_read_is_heard() -> None:
    request = Request(path="/score", body=b"x" * (8 << 20))
    case = Case(kind="oversize", request=request, expected=frozenset({413}))
    found = _with_server(_json(413, {}), lambda url: visit(case, url=url, references={}))
    assert (found.what, found.lost) == ("413", False)


def test_a_token_for_a_wrong_key_is_noticed_whatever_the_status() -> None:
    assert not _visited(_json(401, {"error": {"message": "a valid key is needed"}}), expected=401).leaked
    assert _visited(_json(200, {"output": "Because"}), expected=401).leaked
    assert _visited(_json(401, {"choices": []}), expected=401).leaked
    assert _visited(_chunks(_event("B"), _DONE), expected=401).leaked


def test_another_text_than_generates_is_noticed_on_every_route() -> None:
    for good, bad in (
        ({"output": "Because it"}, {"output": "So"}),
        (["Because"], [""]),
        ({"choices": [{"message": {"content": "Be"}}]}, {"choices": [{"message": {"content": "be"}}]}),
    ):
        assert not _visited(_json(200, good)).wrong
        assert _visited(_json(200, bad)).wrong
    assert _visited(_json(200, {"text": "Because"})).lost  # no shape that any route has


def test_who_is_told_to_come_again_must_hear_when() -> None:
    assert _visited(_json(429, {}, b"Retry-After: 1")).what == "429"
    assert _visited(_json(429, {})).what == "429 without Retry-After"


def test_hanging_up_on_purpose_is_no_loss() -> None:
    stream = _chunks(_event("Be"), _event("ca"), _event("use"), _event(" it"), whole=False)
    assert _visited(stream, manner=Manner.gone_during).what == "hung up on purpose"
    assert _visited(b"", manner=Manner.gone_half_sent).what == "hung up on purpose"


def test_the_mix_has_every_kind_and_no_right_key_in_a_strangers_hands() -> None:
    mix = Mix(["Why?"], key="secret-key", seed=0)
    drawn = [mix.any() for _ in range(2000)]
    assert len({case.kind for case in drawn}) == 16
    assert 0 < mix.good_share < 1
    for case in drawn:
        if case.stranger:
            values = [value for name, value in case.request.headers if name != "Content-Type"]
            assert "Bearer secret-key" not in values
            assert "secret-key" not in values


def test_the_ledger_accounts_for_every_request() -> None:
    ledger, mix = Ledger(), Mix(["Why?"], key="k", seed=0)
    good, ended = mix.good(), {"seconds": 0.1}
    for what, more in (
        ("200", {"status": 200}), ("429", {"status": 429}), ("500", {"status": 500}), ("lost: reset", {"lost": True}),
    ):  # fmt: skip
        ledger.begin(good)
        ledger.end(good, Outcome(kind=good.kind, what=what, **ended, **more))  # type: ignore[arg-type]
    ledger.begin(good)
    totals = ledger.totals()
    assert (totals["sent"], totals["lost"], totals["unaccounted for"]) == (5, 1, 1)
    assert totals["a status that its kind may not get"] == 1
    assert totals["answered 429"] == 1


def test_growth_is_that_within_lives_after_their_warm_up() -> None:
    memory = Memory(pid=os.getpid())
    for pid, level in ((1, 100.0), (2, 900.0)):  # the level of a new life is no growth
        memory.lives[pid] = [(float(at), level + (50 if at < 30 else at * 0.5)) for at in range(90)]
    growth = memory.engine_growth(after_s=30)
    assert growth == pytest.approx(30.0)  # half a MiB a second
    assert memory.gateway_growth(after_s=0) is None
    memory.sample()
    assert memory.gateway[0][1] > 1


def _round(rate: float, *, clients: int = 16, first_s: float = 0.1, equal: int = 2, gbps: float = 0.0) -> Measured:
    found = Cell(
        rate=rate, first_s=first_s, latency_s=1, latency_p95_s=1, decode_rate=rate, equal=equal, asked=2
    )  # fmt: skip
    return Measured(cells={clients: found}, bandwidth_gbps=gbps)


def test_aims_are_judged_on_medians_and_left_open_where_nothing_was_measured() -> None:
    results = {
        peers.BARE.name: [_round(10.0), _round(12.0), _round(11.0)],
        ours.TRANSFORMERS.name: [_round(77.0), _round(90.0), _round(50.0, first_s=0.5, equal=1)],
        ours.ONNX_FP32.name: [_round(200.0, clients=1, gbps=bytes_per_token() * 250 / 1e9)],
    }
    found = {aim.words: (aim.value, aim.verdict) for aim in aims.aims(results)}
    at_16 = f"phi_runner, 16 clients, against {peers.BARE.name}: at least 7 x"
    assert found[at_16] == (7.0, "reached")
    assert found["phi_runner, 16 clients, first token: at most 0.4 s"] == (0.1, "reached")
    value, verdict = found["phi_runner, answers equal to generate's: at least 100 %"]
    assert (round(value or 0, 1), verdict) == (83.3, "not reached")
    share, verdict = found["phi_runner onnx fp32, 1 client, of the read bandwidth: at least 75 %"]
    assert (round(share or 0, 3), verdict) == (80.0, "reached")
    assert found[f"phi_runner onnx int4, 1 client, against {peers.BARE.name}: at least 7 x"][1] == "not measured"


def test_the_model_reads_all_but_its_embedding_for_a_token() -> None:
    assert bytes_per_token() == 4 * (52_107_776 - 512 * 32064)


def test_a_processor_reads_faster_than_a_gigabyte_in_ten_seconds() -> None:
    assert bandwidth.read_gbps(8 << 20, threads=1) > 0.1
