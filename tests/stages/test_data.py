"""Stage `data`: from a config to the files that training reads."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner import artifacts
from phi_runner.artifacts import Dataset
from phi_runner.config.schema import DataConfig, FileData, HubData, RunConfig, SampleData
from phi_runner.data import SAMPLE_FILE
from phi_runner.errors import DataProblem
from phi_runner.events import Kind
from phi_runner.stages.data import STAGE
from phi_runner.stages.stage import Inputs, RunDir
from tests.data.chats import ASSISTANT, USER, chat, messages, write_jsonl
from tests.data.listening import Listening

FILES = ("train.arrow", "test.arrow", "train_data.jsonl", "test_data.jsonl", "report.json")


def config_of(data: DataConfig, *, seed: int = 0) -> RunConfig:
    config = RunConfig(seed=seed)
    config.data = data
    return config


def run(data: DataConfig, folder: Path, *, seed: int = 0, heard: Listening | None = None) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    rundir = RunDir(folder=folder, outputs=folder, key="k", events=(heard or Listening()).events)
    made = STAGE.run(config_of(data, seed=seed), Inputs({}, {}), rundir)
    assert isinstance(made, Dataset)
    return made


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_sample_becomes_the_rows_that_it_names(tmp_path: Path) -> None:
    heard = Listening()
    made = run(SampleData(), tmp_path, heard=heard)
    shipped = rows(SAMPLE_FILE)
    for side, file in (("train", made.train_jsonl), ("test", made.test_jsonl)):
        named = [{"messages": row["messages"]} for row in shipped if row["split"] == side]
        assert sorted(map(json.dumps, rows(file))) == sorted(map(json.dumps, named))
    assert (made.source, made.format, made.dropped_rows) == ("sample train", "messages", 0)
    assert heard.said(Kind.info) == [f"train {made.train_rows} rows, test {made.test_rows} rows"]
    assert heard.said(Kind.warning) == []


def test_everything_lies_in_the_folder_and_the_result_can_be_stored(tmp_path: Path) -> None:
    made = run(SampleData(take="5%"), tmp_path)
    assert all((tmp_path / name).is_file() for name in FILES)
    artifacts.save(made)
    assert artifacts.load(Dataset, folder=tmp_path) == made


def test_order_and_format_of_the_source_do_not_change_a_byte(tmp_path: Path) -> None:
    numbers = list(range(50))
    in_order = write_jsonl(tmp_path / "a.jsonl", map(chat, numbers))
    random.Random(1).shuffle(numbers)
    shuffled = tmp_path / "b.json"
    spelled = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in numbers]
    shuffled.write_text(json.dumps(spelled), encoding="utf-8")
    one = run(FileData(train_file=str(in_order)), tmp_path / "one")
    other = run(FileData(train_file=str(shuffled)), tmp_path / "other")
    assert (one.train_rows, one.test_rows) == (40, 10)
    assert one.content_hash == other.content_hash
    for name in FILES[:4]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_seed_and_fraction_change_the_result(tmp_path: Path) -> None:
    file = str(write_jsonl(tmp_path / "a.jsonl", map(chat, range(50))))
    made = [
        run(FileData(train_file=file), tmp_path / "1"),
        run(FileData(train_file=file), tmp_path / "2", seed=1),
        run(FileData(train_file=file, eval_fraction=0.22), tmp_path / "3"),
    ]
    assert len({dataset.content_hash for dataset in made}) == 3


def test_report_counts_what_happened_to_every_row(tmp_path: Path) -> None:
    heard = Listening()
    trailing = messages((USER, "a"), (ASSISTANT, "b"), (USER, "c"))
    train = write_jsonl(
        tmp_path / "a.jsonl", [chat(1), chat(2), chat(2), chat(3), messages((USER, "a")), trailing, chat(9)]
    )
    test = write_jsonl(tmp_path / "b.jsonl", [chat(3), chat(4), chat(5), chat(5)])
    made = run(FileData(train_file=str(train), eval_file=str(test), take="6"), tmp_path / "out", heard=heard)
    assert (made.train_rows, made.test_rows, made.dropped_rows) == (4, 2, 1)
    assert report(made.folder) == {
        "train_rows": 4,
        "test_rows": 2,
        "duplicates": 2,
        "leaked": 1,
        "content_hash": made.content_hash,
        "sources": {
            "train": {
                "source": str(train), "format": "messages", "rows": 7, "taken": 6, "usable": 5,
                "dropped": {"no assistant turn": {"count": 1, "first": f"{train}:5 (row 5)"}},
                "repaired": {"trailing user turn trimmed": 1},
            },
            "test": {
                "source": str(test), "format": "messages", "rows": 4, "taken": 4, "usable": 4,
                "dropped": {}, "repaired": {},
            },
        },
    }  # fmt: skip
    assert "1 held-out rows are also rows to learn from: not held out" in heard.said(Kind.warning)
    assert "2 rows are exact duplicates: each dialogue is kept once" in heard.said(Kind.info)


def test_content_hash_is_of_both_files(tmp_path: Path) -> None:
    made = run(SampleData(take="2%"), tmp_path)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (made.train_jsonl, made.test_jsonl)]
    assert made.content_hash == hashlib.sha256("\n".join(digests).encode()).hexdigest()


def test_rows_that_teach_nothing_end_the_stage_before_anything_is_written(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", [messages((USER, "A or B?"))])
    with pytest.raises(DataProblem, match="no assistant turn in any row: nothing to learn from"):
        run(FileData(train_file=str(file)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_csv_columns_are_rows_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,input,output\nAdd.,1 2,3\nAdd.,2 2,4\n", encoding="utf-8")
    made = run(FileData(train_file=str(tmp_path / "a.csv")), tmp_path / "out")
    assert (made.train_rows, made.test_rows, made.format) == (1, 1, "instruction")


def test_local_inputs_are_the_readable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    train = write_jsonl(tmp_path / "a.jsonl", [chat(1)])
    assert STAGE.local_inputs(config_of(FileData(train_file="~/a.jsonl"))) == [train]
    assert STAGE.local_inputs(config_of(FileData(train_file=str(train), eval_file="no.csv"))) == [train]
    assert STAGE.local_inputs(config_of(FileData(train_file=str(tmp_path)))) == []
    assert STAGE.local_inputs(config_of(SampleData())) == [SAMPLE_FILE]
    assert STAGE.local_inputs(config_of(HubData(repo="owner/name", split="train"))) == []


def test_preparing_a_file_loads_no_heavy_library(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", [chat(1), chat(2)])
    program = (
        "import sys\nfrom pathlib import Path\n"
        "import phi_runner.stages.data\nassert 'pyarrow' not in sys.modules\n"
        "from phi_runner.config.schema import FileData\nfrom phi_runner.data.prepare import prepare\n"
        "from phi_runner.events import Events, StageEvents\n"
        f"prepare(FileData(train_file={str(file)!r}), seed=0, folder=Path({str(tmp_path)!r}),"
        " events=StageEvents(Events(), 'data'))\n"
        "print(sorted({'torch', 'datasets', 'transformers', 'mlflow'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
