"""The endpoint as a process: what it refuses to serve, and its life from start to drain."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phi_runner.serve.settings import EXIT_PORT_IN_USE, announced
from phi_runner.template import template_hash
from tests.serve.rig import KEY, settings, until, write_key

NOT_NEEDED = {"accelerate", "datasets", "hydra", "mlflow", "omegaconf", "pandas", "peft", "promptflow", "scipy", "trl"}


def arguments(folder: Path, *, model: Path, **changes: object) -> list[str]:
    """Write settings and return the command line that serves by them."""
    values = {
        "model_folder": str(model), "key_file": str(write_key(folder)), "announce": str(folder / "port.json"),
        "template_hash": template_hash(model),
    }  # fmt: skip
    settings(**{**values, **changes}).save(folder / "settings.json")
    return [sys.executable, "-X", "importtime", "-m", "phi_runner.serve", "--settings", str(folder / "settings.json")]


def ends(folder: Path, *, model: Path, **changes: object) -> tuple[int, str]:
    """Run a server that cannot serve; return its exit code and its last line."""
    command = [part for part in arguments(folder, model=model, **changes) if part not in {"-X", "importtime"}]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert KEY not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_model_with_another_template_is_not_served(tiny_model: Path, tmp_path: Path) -> None:
    trained_with = template_hash(tiny_model)
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|user|> "))
    code, line = ends(tmp_path, model=folder, template_hash=trained_with)
    assert code == 1
    assert "has another chat template" in line
    assert trained_with[:12] in line


def test_a_taken_port_is_told_by_its_number(tiny_model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = ends(tmp_path, model=tiny_model, port=port)
    assert (code, line) == (EXIT_PORT_IN_USE, f"error: port {port} on 127.0.0.1 is already in use")


def test_an_empty_key_is_no_key(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    code, line = ends(tmp_path, model=tiny_model, key_file=str(tmp_path / "empty"))
    assert (code, "empty is empty" in line) == (1, True)


def test_weights_that_cannot_be_read_end_the_process_with_the_reason(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    code, line = ends(tmp_path, model=folder)
    assert code == 1
    assert line.startswith(f"error: cannot load the model {folder}: ")


@pytest.fixture
def process(tiny_model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server process on a free port."""
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(arguments(tmp_path, model=tiny_model), stderr=log)
    with server:
        yield server
        if server.poll() is None:
            server.kill()


def test_a_server_lives_gets_ready_answers_and_drains(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert until(lambda: announced(tmp_path / "port.json") > 0, within_s=30)
    url = f"http://127.0.0.1:{announced(tmp_path / 'port.json')}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=60) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        assert until(lambda: client.get("/health/ready").status_code == 200, within_s=60)
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny/1"

        body = {"messages": [{"role": "user", "content": "a private question"}], "max_tokens": 100, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            os.kill(process.pid, signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(timeout=15) == 0
    log = (tmp_path / "log").read_text()
    assert "POST /v1/chat/completions 200" in log
    assert KEY not in log
    assert "private" not in log
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}
    assert "torch" in imported
    assert not imported & NOT_NEEDED
