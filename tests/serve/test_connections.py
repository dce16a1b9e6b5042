"""Connections: clients that send slowly, or what is no HTTP."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from phi_runner.serve import connections, listen
from tests.serve.engines import SlowEngine
from tests.serve.rig import KEY, serving

HEAD = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
BODY = b'{"input_data": ["hello"], "params": {"max_new_tokens": 1}}'


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of an endpoint that waits 0.3 s for a body."""
    with serving(SlowEngine(pause_s=0), body_timeout_s=0.3) as ready:
        yield ready


def dialled(client: httpx.Client) -> socket.socket:
    """Open a connection."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5)


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Read until the other side closes; return status and everything."""
    whole = b""
    while chunk := connection.recv(65536):
        whole += chunk
    return int(whole.split(b" ", 2)[1]) if whole else 0, whole


def test_a_body_that_trickles_in_is_refused_in_time(client: httpx.Client) -> None:
    with dialled(client) as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode())
        begun = time.monotonic()
        for byte in BODY[:5]:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        status, whole = received(connection)
    assert (status, time.monotonic() - begun < 3) == (408, True)
    assert b"body_timeout_s=0.3" in whole
    assert client.post("/score", content=BODY, headers={"Content-Type": "application/json"}).json() == ["word "]


def test_a_body_in_chunks_is_read(client: httpx.Client) -> None:
    pieces = (BODY[start : start + 7] for start in range(0, len(BODY), 7))
    response = client.post("/score", content=pieces, headers={"Content-Type": "application/json"})
    assert response.json() == ["word "]


def test_a_client_that_hangs_up_in_its_body_is_not_answered(client: httpx.Client) -> None:
    with dialled(client) as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:-1])
    assert client.post("/score", content=BODY, headers={"Content-Type": "application/json"}).json() == ["word "]


@pytest.mark.parametrize("sent", [b"", b"POST /score HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_request_that_never_comes_is_cut_off(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "RECEIVE_S", 0.2)
    with dialled(client) as connection:
        connection.sendall(sent)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert received(connection) == (0, b"")
    assert time.monotonic() - begun < 3


def test_what_is_no_http_gets_json(client: httpx.Client) -> None:
    with dialled(client) as connection:
        connection.sendall(b"what is this\r\n\r\n")
        status, whole = received(connection)
    assert status == 400
    assert json.loads(whole.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_http"


def test_a_slow_request_that_comes_in_time_is_answered(client: httpx.Client) -> None:
    with dialled(client) as connection:
        for part in (HEAD[:30], HEAD[30:], f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"):
            connection.sendall(part.encode())
            time.sleep(0.05)
        connection.sendall(BODY)
        status, whole = received(connection)
    assert status == 200
    assert whole.endswith(b'["word "]')


def test_an_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement() -> None:
    listener = listen.bind("127.0.0.1", 0)
    assert listener.proto == socket.IPPROTO_TCP  # by this asyncio knows that it may switch Nagle's algorithm off
    listener.close()
