"""The gateway: what passes through it, what it refuses, and what becomes of requests when an engine dies."""

import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner.deploy import local
from phi_runner.deploy.gateway import attach
from phi_runner.errors import DeployFailed
from phi_runner.processes import Running
from phi_runner.serve.gateway.steering import Phase
from tests.deploy.rig import Asking, Heard, engine, key_of, stand_in, stop_all
from tests.serve.rig import until

CHAT = {"messages": [{"role": "user", "content": "Who?"}]}
COUNT = {"messages": [{"role": "user", "content": "count"}], "stream": True}
MAX_BODY_BYTES = 1024 * 1024
DELTA = '{{"choices": [{{"delta": {{"content": "{} "}}}}]}}'


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An outputs folder whose endpoints end with the module."""
    outputs = tmp_path_factory.mktemp("gateway")
    yield outputs
    stop_all(outputs)


@pytest.fixture(scope="module")
def running(outputs: Path) -> Running:
    """A gateway in front of `blue`, which says `good`."""
    return local.deploy(stand_in(outputs, "good/1"), events=Heard().events)


@pytest.fixture
def client(running: Running, outputs: Path) -> Iterator[httpx.Client]:
    """A client that has the key."""
    headers = {"Authorization": f"Bearer {key_of(outputs)}"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def metric(client: httpx.Client, name: str) -> float:
    """Return a sample of the gateway's metrics."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_requests_and_answers_pass_as_they_are(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions?x=%2F", json=CHAT)
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "good")
    assert "server" not in answer.headers
    assert client.get("/v1/models").json()["data"][0]["id"] == "good/1"
    assert client.get("/nowhere").status_code == 404
    assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_stream_arrives_piece_by_piece(client: httpx.Client) -> None:
    body = {**COUNT, "max_tokens": 3}
    with client.stream("POST", "/v1/chat/completions", json=body, headers={"x-pause-s": "0.2"}) as answer:
        times = [(line, time.monotonic()) for line in answer.iter_lines() if line]
    assert answer.headers["content-type"] == "text/event-stream"
    assert [line.removeprefix("data: ") for line, _at in times] == [*(DELTA.format(n) for n in range(3)), "[DONE]"]
    assert times[2][1] - times[0][1] > 0.3


def test_a_client_that_hangs_up_ends_the_answer_behind_the_gateway(client: httpx.Client) -> None:
    def hung_up() -> int:
        return int(client.get("/v1/models").json()["data"][0]["hung_up"])

    before = hung_up()
    body = {**COUNT, "max_tokens": 1000}
    with client.stream("POST", "/v1/chat/completions", json=body, headers={"x-pause-s": "0.02"}) as answer:
        assert next(answer.iter_lines())
    assert until(lambda: hung_up() == before + 1, within_s=5)


def test_a_body_that_is_too_long_is_cut_off(client: httpx.Client, running: Running) -> None:
    answer = client.post("/score", content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "body_too_long")
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])), timeout=10) as endless:
        endless.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while time.monotonic() < begun + 10:
                endless.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    assert time.monotonic() < begun + 5


def test_a_deployment_is_asked_by_its_name(client: httpx.Client) -> None:
    pinned = {"azureml-model-deployment": "blue"}
    assert client.get("/health/ready", headers=pinned).status_code == 200
    assert client.post("/score", json={"input_data": ["x"]}, headers=pinned).json() == ["good"]
    for path in ("/health/ready", "/v1/models"):
        answer = client.get(path, headers={"azureml-model-deployment": "red"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "azureml-model-deployment")


def test_metrics_are_for_those_with_the_key_and_name_the_deployment(client: httpx.Client) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    lines = client.get("/metrics").text.splitlines()
    assert 'phi_tokens_total{deployment="blue"} 3' in lines
    assert 'phi_gateway_traffic_percent{deployment="blue"} 100' in lines
    assert lines.count("# TYPE phi_tokens_total counter") == 1


def test_a_killed_engine_comes_back_and_no_request_is_lost(
    client: httpx.Client, running: Running, outputs: Path
) -> None:
    restarts = metric(client, "phi_gateway_restarts_total")
    with Asking(running.url, key=key_of(outputs)) as asking:
        for _ in range(2):
            known, before = engine(running, "blue"), asking.answered
            known.send_signal(signal.SIGKILL)
            known.wait(timeout=10)
            assert until(lambda before=before: asking.answered > before + 20)
    assert asking.failed == []
    assert metric(client, "phi_gateway_restarts_total") == restarts + 2
    assert "deployment blue died and is started again" in Path(running.log).read_text()


def test_a_stream_whose_engine_dies_ends_with_an_error(client: httpx.Client, running: Running) -> None:
    body = {**COUNT, "max_tokens": 1000}
    with client.stream("POST", "/v1/chat/completions", json=body, headers={"x-pause-s": "0.02"}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == f"data: {DELTA.format(0)}"
        engine(running, "blue").send_signal(signal.SIGKILL)
        *_, last = lines
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "engine_died"
    assert until(lambda: client.get("/health/ready").status_code == 200)


def test_a_request_that_kills_engines_is_given_up(client: httpx.Client) -> None:
    before = metric(client, "phi_gateway_restarts_total")
    answer = client.post("/score", json={"input_data": ["kill the engine"]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "engine_died")
    assert answer.headers["retry-after"] == "2"
    assert client.post("/score", json={"input_data": ["x"]}).json() == ["good"]
    assert metric(client, "phi_gateway_restarts_total") == before + 2


def test_traffic_is_divided_evenly_and_a_dead_share_is_taken_over(outputs: Path) -> None:
    name = "two-of-them"
    running = local.deploy(stand_in(outputs, "one/1", name=name), events=Heard().events)
    other, key = stand_in(outputs, "two/2", name=name), key_of(outputs, name=name)
    deployments = local.backend(other, other.entry(), gateway=attach(running), key=key, events=Heard().events)
    deployments.make("green")
    deployments.shift({"blue": 70, "green": 30})
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, timeout=30) as client:

        def said() -> Counter[str]:
            return Counter(client.post("/score", json={"input_data": ["x"]}).json()[0] for _ in range(10))

        assert said() == {"one": 7, "two": 3}
        engine(running, "green").send_signal(signal.SIGKILL)
        assert said() == {"one": 10}
        assert until(lambda: said() == {"one": 7, "two": 3})


def test_an_endpoint_without_hope_says_so_at_once(outputs: Path) -> None:
    running = local.deploy(stand_in(outputs, "good/1", name="hopeless"), events=Heard().events)
    broken, key = stand_in(outputs, "bad/2 never-starts", name="hopeless"), key_of(outputs, name="hopeless")
    gateway = attach(running)
    deployments = local.backend(broken, broken.entry(), gateway=gateway, key=key, events=Heard().events)
    with pytest.raises(DeployFailed, match="cannot load the model: it is broken"):
        deployments.make("green")
    gateway.carry_out(gateway.plan().next(traffic={"green": 100}, standby=()))
    with httpx.Client(base_url=running.url, trust_env=False, timeout=5) as client:
        for answer in (client.post("/score", json={}), client.get("/health/ready")):
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "no_engine")
            assert answer.headers["retry-after"] == "2"
        assert client.get("/health/live").status_code == 200


def test_at_its_end_answers_in_progress_are_finished_and_nothing_is_left(outputs: Path) -> None:
    running = local.deploy(stand_in(outputs, "good/1", name="ending"), events=Heard().events)
    there = [engine(running, "blue"), psutil.Process(running.pid)]
    headers = {"Authorization": f"Bearer {key_of(outputs, name='ending')}", "x-pause-s": "0.1"}
    with httpx.Client(base_url=running.url, headers=headers, trust_env=False, timeout=30) as client:
        with client.stream("POST", "/v1/chat/completions", json={**COUNT, "max_tokens": 10}) as answer:
            lines = (line for line in answer.iter_lines() if line)
            assert next(lines) == f"data: {DELTA.format(0)}"
            there[1].terminate()
            assert [*lines][-1] == "data: [DONE]"
        with pytest.raises(httpx.TransportError):
            client.get("/health/live")
    assert psutil.wait_procs(there, timeout=10)[1] == []


@pytest.mark.slow
def test_an_engine_that_dies_again_and_again_is_given_up(outputs: Path) -> None:
    running = local.deploy(stand_in(outputs, "good/1", name="dying"), events=Heard().events)

    def phase() -> Phase:
        there = attach(running).settled().of("blue")
        assert there is not None
        return there.phase

    for _ in range(6):
        known = engine(running, "blue")
        known.send_signal(signal.SIGKILL)
        known.wait(timeout=10)
        assert until(lambda: phase() is not Phase.ready, within_s=5)
        assert until(lambda: phase() in {Phase.ready, Phase.failed})
    assert phase() is Phase.failed
    assert "deployment blue is given up: it died 6 times in a row" in Path(running.log).read_text()
