"""The smoke test passes what answers and names what does not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from phi_runner.deploy import probe, smoke
from phi_runner.errors import DeployFailed
from phi_runner.model.answering import Finish, Finished, Piece, Prompt, Sampling
from tests.serve.engines import SlowEngine
from tests.serve.rig import KEY, LABEL, serving


class ScriptedEngine(SlowEngine):
    """Says the next of its answers to each question."""

    script: Iterator[str] = iter(())

    def start(self, prompt: Prompt, *, sampling: Sampling, tell: Callable[[Piece], None]) -> Callable[[], None]:
        """Say one answer."""
        tell(next(self.script))
        tell(Finished(reason=Finish.stop, prompt_tokens=len(prompt.tokens), completion_tokens=1))
        return lambda: None


def saying(*answers: str) -> ScriptedEngine:
    """Return an engine that says these answers, one a question."""
    engine = ScriptedEngine()
    engine.script = iter(answers)
    return engine


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to whatever is asked; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        """Always the same answer."""

        def do_GET(self) -> None:
            """Answer."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_endpoint_that_answers_the_same_everywhere_passes() -> None:
    with serving(saying(*["Bill Gates and Paul Allen."] * 4)) as client:
        answer = smoke.test_endpoint(str(client.base_url), key=KEY, deployment="", timeout_s=5)
        assert answer == "Bill Gates and Paul Allen."
        assert probe.served(str(client.base_url), key=KEY).label == LABEL


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (["one", "one", " \n", "one"], "the routes disagree"),
        (["one", "two", "one", "one"], "the routes disagree"),
        (["one", "one", "one", "two"], "the routes disagree"),
    ],
)
def test_different_answers_fail(answers: list[str], problem: str) -> None:
    with serving(saying(*answers)) as client, pytest.raises(DeployFailed, match=problem):
        smoke.test_endpoint(str(client.base_url), key=KEY, deployment="", timeout_s=5)


def test_a_model_that_ends_its_turn_at_once_is_no_fault_of_the_endpoint() -> None:
    with serving(saying("", "", "", "")) as client:
        assert smoke.test_endpoint(str(client.base_url), key=KEY, deployment="", timeout_s=5) == ""


def test_an_endpoint_that_lets_strangers_in_fails() -> None:
    with answering(200, b"[]") as url, pytest.raises(DeployFailed, match="/score answered 200 where 401 was expected"):
        smoke.test_endpoint(url, key=KEY, deployment="", timeout_s=5)


def test_an_endpoint_that_is_not_ready_fails() -> None:
    with serving(None) as client, pytest.raises(DeployFailed, match="/health/ready answered 503"):
        smoke.test_endpoint(str(client.base_url), key=KEY, deployment="", timeout_s=5)


def test_an_endpoint_that_is_gone_fails() -> None:
    with answering(200, b"{}") as url:
        pass
    assert not probe.is_ready(url)
    with pytest.raises(DeployFailed, match="stopped answering"):
        smoke.test_endpoint(url, key=KEY, deployment="", timeout_s=5)
    with pytest.raises(DeployFailed, match="does not say which model"):
        probe.served(url, key=KEY)


@pytest.mark.parametrize("body", [b"{}", b"no json", b'{"data": 3}', b'{"data": []}'])
def test_something_else_on_the_port_is_no_endpoint_of_ours(body: bytes) -> None:
    with answering(200, body) as url, pytest.raises(DeployFailed, match="does not say which model"):
        probe.served(url, key=KEY)
