"""The check within a run: after a result that was made and after one that was reused, and what a refusal leaves."""

import json
from pathlib import Path

import pytest

from phi_runner.config.schema import Bound, FileData, RunConfig, StageName
from phi_runner.errors import DataProblem
from phi_runner.runner import perform
from tests.data.chats import ASSISTANT, USER, messages, write_jsonl
from tests.runs import config


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    rows = [messages((USER, f"Who is number {n}?"), (ASSISTANT, f"Ask n{n}@riga-post.org.")) for n in range(30)]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    return config(StageName.data, outputs=tmp_path / "outputs", data=FileData(train_file=str(file)))


def _perform(run: RunConfig, folder: Path) -> dict[str, object]:
    perform(run, folder=folder, overrides=[], recipe="", trial=None)
    found: dict[str, object] = json.loads((folder / "data_check.json").read_text(encoding="utf-8"))
    return found


def test_a_reused_result_is_checked_as_one_that_was_made(run: RunConfig, tmp_path: Path) -> None:
    made, reused = _perform(run, tmp_path / "one"), _perform(run, tmp_path / "two")
    assert made == reused
    assert (tmp_path / "two" / "data_check.html").is_file()
    assert json.loads((tmp_path / "two" / "run.json").read_text())["stages"][0]["status"] == "reused"


def test_a_refusal_ends_the_run_and_leaves_the_page(run: RunConfig, tmp_path: Path) -> None:
    run.preflight.email = Bound(refuse=0.5)
    with pytest.raises(DataProblem, match=r"type preflight\.email\.refuse=null"):
        _perform(run, tmp_path / "one")
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert (record["status"], record["stages"][0]["status"]) == ("failed", "failed")
    assert "riga-post" not in (tmp_path / "one" / "data_check.html").read_text()
    run.preflight.email = Bound()
    assert _perform(run, tmp_path / "two")["level"] == "noted"
