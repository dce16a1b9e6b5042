"""Hub data sets, read through the real `datasets` from a folder that is laid out like a repository of the hub."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from phi_runner.config.schema import HubData
from phi_runner.data.hub import open_splits
from phi_runner.errors import DataProblem
from tests.data.chats import chat, write_jsonl

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train_sft, path: train.jsonl}
  - {split: test_sft, path: test.jsonl}
---
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hub") / "ultrachat"
    folder.mkdir()
    write_jsonl(
        folder / "train.jsonl", [{"prompt": "q", "prompt_id": str(number)} | chat(number) for number in range(9)]
    )
    write_jsonl(folder / "test.jsonl", [chat(number) for number in range(100, 103)])
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


def test_splits_are_read_in_the_hubs_order(repo: str) -> None:
    train, test = open_splits(HubData(repo=repo, split="train_sft", eval_split="test_sft"))
    assert test is not None
    assert (train.total(), test.total()) == (9, 3)
    records = list(train.read())
    assert [record.fields["messages"] for record in records] == [chat(number)["messages"] for number in range(9)]
    assert records[4].place == f"{repo} train_sft row 5"


def test_without_a_held_out_split_there_is_one_source(repo: str) -> None:
    assert open_splits(HubData(repo=repo, split="train_sft"))[1] is None


@pytest.mark.parametrize(
    ("key", "split", "hint"),
    [
        ("data.split", "train_stf", ": did you mean data.split=train_sft?"),
        ("data.split", "wxyz", ": it has train_sft, test_sft"),
        ("data.eval_split", "tst_sft", ": did you mean data.eval_split=test_sft?"),
    ],
)
def test_an_unknown_split_is_answered_with_the_right_one(repo: str, key: str, split: str, hint: str) -> None:
    names = {"data.split": "train_sft", "data.eval_split": "", key: split}
    with pytest.raises(DataProblem) as raised:
        open_splits(HubData(repo=repo, split=names["data.split"], eval_split=names["data.eval_split"]))
    assert str(raised.value) == f"{key}={split} is not in {repo}{hint}"


def test_an_unknown_subset_is_told_in_one_line(repo: str) -> None:
    with pytest.raises(DataProblem) as raised:
        open_splits(HubData(repo=repo, subset="other", split="train_sft"))
    assert str(raised.value) == (
        f"data.repo={repo} data.subset=other data.revision=main cannot be loaded: "
        "BuilderConfig 'other' not found. Available: ['default']"
    )


def test_damaged_rows_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{broken\n")
    with pytest.raises(DataProblem, match=rf"^data\.repo={tmp_path} .* cannot be loaded: .+$") as raised:
        open_splits(HubData(repo=str(tmp_path), split="train"))
    assert "\n" not in str(raised.value)


def test_offline_nothing_is_asked_for_and_the_way_out_is_named() -> None:
    """In a process of its own: the hub's client reads HF_HUB_OFFLINE once, when it is imported."""
    program = (
        "from phi_runner.config.schema import HubData\n"
        "from phi_runner.data.hub import open_splits\n"
        "open_splits(HubData(repo='HuggingFaceH4/ultrachat_200k', split='train_sft'))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.stderr.splitlines()[-1] == (
        "phi_runner.errors.DataProblem: data.repo=HuggingFaceH4/ultrachat_200k is not on this machine and "
        "HF_HUB_OFFLINE is set: connect once to download it, or use a local file with data=jsonl data.train_file=PATH"
    )
