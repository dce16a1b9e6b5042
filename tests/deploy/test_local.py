"""The endpoint process: started, reused, replaced without a gap, and never left behind by a failure."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from phi_runner import processes
from phi_runner.deploy import keys, local
from phi_runner.errors import ConfigProblem, DeployFailed
from phi_runner.processes import Running
from tests.deploy.rig import Heard, free_port, stop_all, wanted


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Path]:
    """An outputs folder whose endpoints end with the test."""
    yield tmp_path / "outputs"
    stop_all(tmp_path / "outputs")


def servers() -> list[int]:
    """Return the pids of the endpoint processes that this process has started and that still run."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "phi_runner.serve" in child.cmdline()]


class Asking:
    """Asks an address again and again in a thread; counts the answers and keeps what went wrong."""

    def __init__(self, url: str, *, key: str) -> None:
        self._url, self._key, self._enough = url, key, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answered, self.failed = 0, list[str]()

    def _ask(self) -> None:
        while not self._enough.wait(0.02):
            try:
                body = {"input_data": ["Where?"], "params": {"max_new_tokens": 2}}
                headers = {"Authorization": f"Bearer {self._key}"}
                response = httpx.post(f"{self._url}/score", json=body, headers=headers, trust_env=False, timeout=30)
                self.answered += response.status_code == 200
            except httpx.TransportError as err:
                self.failed.append(repr(err))

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        self._thread.join()


def test_an_endpoint_is_started_reused_and_replaced_on_its_port(tiny_model: Path, outputs: Path) -> None:
    port, heard = free_port(), Heard()
    first = local.deploy(wanted(tiny_model, outputs, port=port, detach=True), events=heard.events)
    key = keys.read(keys.file_of("phi-endpoint", outputs=outputs))
    assert first.url == f"http://127.0.0.1:{port}"
    assert first.alive()
    assert processes.find("endpoint", "phi-endpoint", outputs=outputs) == first
    assert "smoke test passed: Who founded Microsoft? -> " in heard.text

    again = local.deploy(wanted(tiny_model, outputs, port=port, detach=True), events=heard.events)
    assert again == first
    assert "already serves this model" in heard.text

    bad = replace(wanted(tiny_model, outputs, port=port, label="tiny/2", detach=True), template_hash="0" * 64)
    with pytest.raises(DeployFailed, match=r"ended while it started: .* has another chat template .*\(log: .*\.log\)"):
        local.deploy(bad, events=heard.events)
    assert servers() == [first.pid]

    with Asking(first.url, key=key) as asking:
        second = local.deploy(wanted(tiny_model, outputs, port=port, label="tiny/2", detach=True), events=heard.events)
    assert "it serves tiny/1" in heard.text
    assert (second.url, servers()) == (first.url, [second.pid])
    assert httpx.get(f"{second.url}/v1/models", headers={"api-key": key}).json()["data"][0]["id"] == "tiny/2"
    assert asking.answered > 10
    assert len(asking.failed) <= 10, asking.failed
    assert key not in heard.text + Path(second.log).read_text()


def test_a_taken_port_is_told_with_what_to_type(tiny_model: Path, outputs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeployFailed, match=rf"deploy\.port={port} is already in use .* type deploy\.port=0"):
            local.deploy(wanted(tiny_model, outputs, port=port), events=Heard().events)
    assert servers() == []


def test_an_endpoint_that_is_not_ready_in_time_is_stopped(tiny_model: Path, outputs: Path) -> None:
    with pytest.raises(DeployFailed, match=r"not ready after deploy\.start_timeout_s=0\.3"):
        local.deploy(wanted(tiny_model, outputs, start_timeout_s=0.3), events=Heard().events)
    assert servers() == []
    assert processes.listed(outputs=outputs) == []


def test_a_name_that_is_no_file_name_is_refused(tiny_model: Path, outputs: Path) -> None:
    with pytest.raises(ConfigProblem, match=r"deploy\.name='\.\./x'"):
        local.deploy(wanted(tiny_model, outputs, name="../x"), events=Heard().events)


def test_two_runs_that_deploy_one_name_take_turns(tiny_model: Path, outputs: Path) -> None:
    heard, done = [Heard(), Heard()], list[Running]()

    def run(number: int) -> None:
        asked = wanted(tiny_model, outputs, label=f"tiny/{number}", detach=True)
        done.append(local.deploy(asked, events=heard[number].events))

    runs = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    first, second = done
    assert "another run deploys phi-endpoint: waiting" in heard[0].text + heard[1].text
    assert not first.alive()
    assert processes.listed(outputs=outputs) == [second]
    assert servers() == [second.pid]
