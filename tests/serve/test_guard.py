"""What a request passes before a route sees it."""

import logging
from collections.abc import Iterator

import httpx
import pytest

from tests.serve.engines import SlowEngine
from tests.serve.rig import KEY, serving

MAX_BODY_BYTES = 1024 * 1024
BODY = {"input_data": ["a private question"], "params": {"max_new_tokens": 1}}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client with the key of an endpoint that answers at once."""
    with serving(SlowEngine(pause_s=0)) as ready:
        yield ready


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": "Bearer schl\u00fcssel".encode()}, {"api-key": "wrong"}, {"api-key": ""},
        {"Authorization": "Bearer wrong", "api-key": KEY},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/score", "/v1/chat/completions", "/v1/models", "/metrics", "/swagger.json", "/nowhere"]
)
def test_without_the_key_nothing_is_answered(client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    response = httpx.post(f"{client.base_url}{path}", json=BODY, headers=headers, trust_env=False)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}, {"api-key": KEY}]
)
def test_the_key_is_taken_from_either_header(client: httpx.Client, headers: dict[str, str]) -> None:
    response = httpx.post(f"{client.base_url}/score", json=BODY, headers=headers, trust_env=False)
    assert response.json() == ["word "]


def test_no_other_sites_page_may_ask(client: httpx.Client) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(f"{client.base_url}/score", headers=asked, trust_env=False)
    answered = client.post("/score", json=BODY, headers={"Origin": "https://elsewhere.example"})
    assert (preflight.status_code, answered.status_code) == (401, 200)
    for response in (preflight, answered):
        assert [name for name in response.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(client: httpx.Client, path: str) -> None:
    assert httpx.get(f"{client.base_url}{path}", trust_env=False).status_code == 200


def test_a_body_of_the_greatest_length_is_read(client: httpx.Client) -> None:
    content = b'{"input_data": ["x"]' + b" " * (MAX_BODY_BYTES - 21) + b"}"
    response = client.post("/score", content=content, headers={"Content-Type": "application/json"})
    assert (len(content), response.status_code) == (MAX_BODY_BYTES, 200)


def test_a_longer_body_is_refused(client: httpx.Client) -> None:
    response = client.post("/score", content=b" " * (MAX_BODY_BYTES + 1))
    assert response.status_code == 413
    assert str(MAX_BODY_BYTES) in response.json()["error"]["message"]


def test_a_longer_body_of_unknown_length_is_refused(client: httpx.Client) -> None:
    response = client.post("/score", content=(b" " * 65536 for _ in range(17)))
    assert response.status_code == 413


def test_the_log_tells_what_happened_and_no_secret(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post("/score?key=sesame", json=BODY)
        client.post("/score", json={"input_data": ["another private question"], "oops": 1})
        client.get("/health/live")
    # httpx is the client; uvicorn's own access log is off, but pytest gives it a handler, which turns it on
    others = {"httpx", "httpcore.connection", "httpcore.http11", "uvicorn.access"}
    ours = [record for record in caplog.records if record.name not in others]
    lines = [
        record.getMessage() for record in ours if record.name == "phi_runner.serve" and "POST" in record.getMessage()
    ]
    assert [line.rsplit(" ", 3)[0] for line in lines] == ["POST /score 200", "POST /score 422"]
    said = "\n".join(record.getMessage() for record in ours)
    assert [secret for secret in (KEY, "private", "sesame", "word") if secret in said] == [], said
