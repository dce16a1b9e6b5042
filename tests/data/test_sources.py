"""The config names a source: every schema of the group has its case, and an unknown one is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi_runner.config.schema import SCHEMAS, DataConfig, FileData, HubData, SampleData
from phi_runner.data import SAMPLE_FILE, local_files, open_sources
from phi_runner.errors import ConfigProblem
from tests.data.chats import chat, write_jsonl


@dataclass(kw_only=True, slots=True)
class Strange(DataConfig):
    """A schema that nobody reads."""


@pytest.mark.parametrize("schema", SCHEMAS["data"].values())
def test_every_data_schema_has_a_case(schema: type[DataConfig]) -> None:
    required = {FileData: {"train_file": "a.jsonl"}, HubData: {"repo": "owner/name", "split": "train"}}
    assert isinstance(local_files(schema(**required.get(schema, {}))), list)


@pytest.mark.parametrize("read", [local_files, open_sources])
def test_an_unknown_schema_is_refused(read: Callable[[DataConfig], object]) -> None:
    with pytest.raises(ConfigProblem, match=r"^data: nothing here reads Strange$"):
        read(Strange())


def test_sample_has_held_out_rows_of_its_own() -> None:
    sources = open_sources(SampleData())
    assert sources.test is not None
    assert sources.train.total() + sources.test.total() == SAMPLE_FILE.read_text(encoding="utf-8").count("\n")


def test_files_are_named_whether_they_are_there_or_not(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "a.jsonl", [chat(1)])
    assert local_files(FileData(train_file=str(train), eval_file="~/no.csv")) == [train, Path("~/no.csv").expanduser()]
    assert open_sources(FileData(train_file=str(train))).test is None
