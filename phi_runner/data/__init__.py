"""Chat rows: the source that the config names. Reading, checking, dividing and writing lie beside it, one file each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phi_runner.config.schema import DataConfig, FileData, HubData, RowFormat, SampleData
from phi_runner.data.files import local_path, open_file
from phi_runner.data.json_files import jsonl_source
from phi_runner.data.rows import Record, Source
from phi_runner.errors import ConfigProblem

SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the config names, opened: rows to learn from, held-out rows where the source has its own, their format."""

    train: Source
    test: Source | None
    format: RowFormat


def open_sources(config: DataConfig) -> Sources:
    """Open what the config names; raises DataProblem when it is not there. Reads no row."""
    match config:
        case SampleData():
            return Sources(train=_sample("train"), test=_sample("test"), format=RowFormat.messages)
        case FileData():
            train = open_file(config.train_file, key="data.train_file")
            test = open_file(config.eval_file, key="data.eval_file") if config.eval_file else None
            return Sources(train=train, test=test, format=config.format)
        case HubData():
            from phi_runner.data.hub import open_splits

            learned, held_out = open_splits(config)
            return Sources(train=learned, test=held_out, format=config.format)
        case unknown:
            raise _unread(unknown)


def local_files(config: DataConfig) -> list[Path]:
    """Return the files of this machine whose bytes the rows come from, whether they are there or not."""
    match config:
        case SampleData():
            return [SAMPLE_FILE]
        case FileData():
            return [local_path(typed) for typed in (config.train_file, config.eval_file) if typed]
        case HubData():
            return []
        case unknown:
            raise _unread(unknown)


def _unread(config: DataConfig) -> ConfigProblem:
    return ConfigProblem(f"data: nothing here reads {type(config).__name__}")


def _sample(side: str) -> Source:
    whole = jsonl_source(SAMPLE_FILE)

    def read() -> Iterator[Record]:
        return (record for record in whole.read() if record.fields["split"] == side)

    return Source(name=f"sample {side}", total=lambda: sum(1 for _ in read()), read=read)
