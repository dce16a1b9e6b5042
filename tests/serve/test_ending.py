"""The drain: what has begun is answered, what comes later is told to come again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.serve.engines import SlowEngine
from tests.serve.rig import Endpoint, opened, until

STREAM = {"messages": [{"role": "user", "content": "go on"}], "max_tokens": 40, "stream": True}
SHORT = {"input_data": ["hello"], "params": {"max_new_tokens": 3}}


@contextmanager
def ending(endpoint: Endpoint) -> Iterator[None]:
    """Tell the server to end, as SIGTERM does."""
    endpoint.server.should_exit = True
    assert until(lambda: endpoint.service.draining)
    yield


def test_an_answer_in_progress_is_finished_and_a_new_one_refused() -> None:
    with opened(SlowEngine(pause_s=0.02)) as endpoint, ThreadPoolExecutor(1) as threads:
        whole = threads.submit(endpoint.client.post, "/score", json=SHORT | {"params": {"max_new_tokens": 40}})
        with endpoint.client.stream("POST", "/v1/chat/completions", json=STREAM) as response:
            lines = (line for line in response.iter_lines() if line)
            assert next(lines).startswith("data: ")
            with ending(endpoint):
                late = endpoint.client.post("/score", json=SHORT)
                assert (late.status_code, late.headers["Retry-After"], late.headers["Connection"]) == (
                    503,
                    "1",
                    "close",
                )
                assert late.json()["error"]["type"] == "stopping"
                assert endpoint.client.get("/health/ready").status_code == 503
                assert endpoint.client.get("/health/live").status_code == 200
            assert list(lines)[-1] == "data: [DONE]"
        assert whole.result().json() == ["word " * 40]
        assert until(lambda: not endpoint.thread.is_alive(), within_s=3)


def test_an_idle_endpoint_ends_at_once() -> None:
    with opened(SlowEngine()) as endpoint:
        assert endpoint.client.post("/score", json=SHORT).status_code == 200
        endpoint.server.should_exit = True
        assert until(lambda: not endpoint.thread.is_alive(), within_s=2)


def test_answers_that_outlast_the_drain_are_told_so() -> None:
    engine = SlowEngine(pause_s=0.02)
    with opened(engine, drain_s=0.3) as endpoint, ThreadPoolExecutor(1) as threads:
        whole = threads.submit(endpoint.client.post, "/score", json=SHORT | {"params": {"max_new_tokens": 500}})
        with endpoint.client.stream("POST", "/v1/chat/completions", json=STREAM | {"max_tokens": 500}) as response:
            lines = (line for line in response.iter_lines() if line)
            assert next(lines).startswith("data: ")
            assert until(lambda: engine.busy == 2)
            with ending(endpoint):
                last = list(lines)[-1]
        assert '"type": "stopping"' in last
        assert (whole.result().status_code, whole.result().json()["error"]["type"]) == (503, "stopping")
        assert until(lambda: not endpoint.thread.is_alive(), within_s=3)
