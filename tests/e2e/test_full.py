"""The full recipe from rows to a flow's answer, in processes of its own: once, again, and talked to."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import runs
from tests.e2e import cli

_QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    runs.facts_file(folder)
    return folder


@pytest.fixture(scope="module")
def arguments() -> list[str]:
    return ["+recipe=full", "data=jsonl", "data.train_file=facts.jsonl", *cli.SMALL, f"flow.question='{_QUESTION}'"]


@pytest.fixture(scope="module")
def said(folder: Path, arguments: list[str]) -> str:
    return cli.run(folder, *arguments, options=("-X", "importtime"))


def test_azure_is_never_imported(said: str) -> None:
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert "mlflow" in imported
    assert [name for name in imported if name == "azure" or name.startswith("azure.")] == []


def test_it_ends_with_the_right_answer_from_the_flow(said: str, folder: Path) -> None:
    [record] = cli.records(folder)
    assert record["status"] == "done"
    assert record["values"]["answer"] == "Paris."
    statuses = cli.statuses(record)
    assert statuses.pop("infra") == "skipped"
    assert set(statuses.values()) == {"done"}
    assert f"{_QUESTION} -> Paris." in " ".join(said.split())


def test_nothing_past_loopback_is_even_tried(said: str, folder: Path) -> None:
    calls = folder / "calls_outside.txt"
    assert not calls.exists(), calls.read_text()


def test_the_guard_against_the_network_works(tmp_path: Path) -> None:
    program = "import socket; socket.getaddrinfo('huggingface.co', 443)"
    done = subprocess.run([sys.executable, "-c", program], env=cli.guarded(tmp_path), capture_output=True, check=False)
    assert done.returncode == 1
    assert "huggingface.co" in (tmp_path / "calls_outside.txt").read_text()


def test_no_server_outlives_the_run(said: str, folder: Path) -> None:
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []


def test_no_key_is_in_any_file_but_its_own(said: str, folder: Path) -> None:
    [key_file] = (folder / "outputs/keys").iterdir()
    assert key_file.stat().st_mode & 0o777 == 0o600
    key = key_file.read_bytes().strip()
    assert key
    others = [file for file in (folder / "outputs").rglob("*") if file.is_file() and file != key_file]
    assert [file for file in others if key in file.read_bytes()] == []
    assert key.decode() not in said


def test_the_second_time_every_pure_stage_is_reused(said: str, folder: Path, arguments: list[str]) -> None:
    cli.run(folder, *arguments)
    first, second = cli.records(folder)
    reused = {name for name, status in cli.statuses(second).items() if status == "reused"}
    assert reused == {"data", "train", "evaluate", "register"}
    assert second["values"]["answer"] == "Paris."
    assert {n: k for n, k in cli.keys(first).items() if n in reused} == {
        n: k for n, k in cli.keys(second).items() if n in reused
    }


def test_chat_in_the_terminal_answers_and_ends(said: str, folder: Path) -> None:
    out = cli.run(folder, "+recipe=chat", "chat.ui=terminal", typed="Name a planet.\n/quit\n")
    assert "Mars." in out


def test_a_detached_endpoint_stays_until_teardown(said: str, folder: Path) -> None:
    cli.run(folder, "+recipe=deploy_only")
    record = cli.records(folder)[-1]
    assert cli.statuses(record) == {"infra": "skipped", "deploy": "done"}
    again = cli.run(folder, "+recipe=deploy_only")
    assert "reused" in again
    out = cli.run(folder, "+recipe=teardown")
    assert "phi-endpoint" in out
    assert not list((folder / "outputs/running").glob("*.json"))
    assert not list((folder / "outputs/keys").glob("*"))
