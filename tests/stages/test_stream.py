"""Data that stay at their source: some held out, the rest read while training, never written, the same when resumed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from phi_runner import artifacts, runner
from phi_runner.artifacts import Dataset, TrainedModel
from phi_runner.config.schema import DataConfig, FileData, FullTrain, HubData, LocalModel, RunConfig, StageName
from phi_runner.data import streaming
from phi_runner.errors import DataProblem
from phi_runner.model import device, load, tokens
from phi_runner.model.training.fit import Training
from phi_runner.stages import data as data_stage
from phi_runner.stages import streamed
from phi_runner.stages.stage import Inputs
from tests import runs, tiny
from tests.data.chats import ASSISTANT, USER, chat, messages, write_jsonl

pytestmark = pytest.mark.filterwarnings("default")  # whole stages run here, with every library's own warnings
_ROWS = 400
_STEPS = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good rows, each told from the others; every fiftieth twice, and two that cannot be learned from."""
    rows = [chat(number) for number in range(_ROWS)]
    bad = [messages((USER, "and?")), messages((USER, "a"), (ASSISTANT, ""))]
    return write_jsonl(tmp_path_factory.mktemp("source") / "rows.jsonl", [*rows, *rows[::50], *bad])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model_folder(tmp_path_factory.mktemp("model"))


def _streamed(source: Path, **changes: Any) -> FileData:
    return FileData(train_file=str(source), stream=True, stream_eval_rows=20, **changes)


def _prepared(data: DataConfig, folder: Path) -> Dataset:
    config = RunConfig(data=data)
    made = data_stage.STAGE.run(config, Inputs({}, {}), runs.rundir(folder, outputs=folder)[0])
    assert isinstance(made, Dataset)
    return made


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _prepared(_streamed(source), tmp_path_factory.mktemp("dataset"))


def _questions(dialogues: Any) -> list[str]:
    return [dialogue[0]["content"] for dialogue in dialogues]


def _held_out(dataset: Dataset) -> set[str]:
    rows = map(json.loads, dataset.test_jsonl.read_text(encoding="utf-8").splitlines())
    return {row["messages"][0]["content"] for row in rows}


def _reading(dataset: Dataset, folder: Path, *, seed: int = 0) -> tuple[streaming.Reading, runs.Heard]:
    rundir, heard = runs.rundir(folder, outputs=folder)
    return streaming.reopen(dataset, seed=seed, events=rundir.events), heard


def test_the_beginning_is_held_out_and_nothing_else_is_written(dataset: Dataset, source: Path) -> None:
    assert (dataset.streamed, dataset.train_rows, dataset.test_rows) == (True, 0, 20)
    names = {file.name for file in dataset.folder.iterdir()}
    assert names == {"test.arrow", "test_data.jsonl", "source.json", "report.json"}
    told = json.loads(dataset.source_file.read_text(encoding="utf-8"))
    assert (told["kind"], told["train_file"], told["format"]) == ("file", str(source), "messages")
    looked_at = json.loads((dataset.folder / "report.json").read_text())["sources"]["train"]["looked_at"]
    assert 20 < looked_at < 250


def test_a_pass_has_every_other_row_once_in_an_order_of_its_own(dataset: Dataset, tmp_path: Path) -> None:
    reading, heard = _reading(dataset, tmp_path)
    held_out = _held_out(dataset)
    wanted = sorted({f"question {number}" for number in range(_ROWS)} - held_out)
    repeated = {f"question {number}" for number in range(0, _ROWS, 50)} - held_out
    size = len(wanted) + len(repeated)
    first, second = (_questions(islice(reading(), place, place + size)) for place in (0, size))
    assert sorted(set(first)) == sorted(set(second)) == wanted
    assert first != second
    assert first == _questions(islice(_reading(dataset, tmp_path)[0](), size))
    assert first != sorted(first, key=lambda question: int(question.split()[1]))
    passed_over = _ROWS + _ROWS // 50 - size
    assert f"{_ROWS + _ROWS // 50 + 2} rows read, {passed_over} of them held out" in heard.text()
    assert "dropped 1 of 410 rows: no assistant turn" in heard.text()


def test_reading_is_ahead_by_no_more_than_the_buffer(dataset: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(streaming, "SHUFFLED_ROWS", 30)
    reading, _heard = _reading(dataset, tmp_path)
    ahead = []
    for number, _dialogue in enumerate(islice(reading(), 200), start=1):
        ahead.append(reading.found.taken - reading.passed_over - number)
    assert max(ahead) == 30
    monkeypatch.setattr(streaming, "SHUFFLED_CHARACTERS", 230)  # about ten of these dialogues
    next(reading())
    assert reading.found.taken - reading.passed_over < 15


def test_take_ends_the_source(source: Path, tmp_path: Path) -> None:
    dataset = _prepared(_streamed(source, take="100"), tmp_path / "data")
    reading, _heard = _reading(dataset, tmp_path)
    size = 100 - dataset.test_rows
    assert set(_questions(islice(reading(), size))) | _held_out(dataset) == {f"question {n}" for n in range(100)}


def test_rows_of_a_held_out_file_are_not_learnt_either(source: Path, tmp_path: Path) -> None:
    own = write_jsonl(tmp_path / "own.jsonl", [chat(number) for number in range(390, 430)])
    dataset = _prepared(_streamed(source, eval_file=str(own)), tmp_path / "data")
    assert dataset.test_rows == 20
    reading, _heard = _reading(dataset, tmp_path)
    learnt = set(_questions(islice(reading(), 2 * _ROWS)))
    assert learnt == {f"question {number}" for number in range(390)}


def test_a_hub_data_set_is_read_in_the_same_way(source: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "train.jsonl").write_bytes(source.read_bytes())
    data = HubData(repo=str(repo), split="train", stream=True, stream_eval_rows=20)
    dataset = _prepared(data, tmp_path / "data")
    told = json.loads(dataset.source_file.read_text(encoding="utf-8"))
    assert (told["kind"], told["repo"], told["revision"]) == ("hub", str(repo), "main")
    reading, _heard = _reading(dataset, tmp_path)
    learnt = set(_questions(islice(reading(), 2 * _ROWS)))
    assert learnt | _held_out(dataset) == {f"question {number}" for number in range(_ROWS)}
    assert not learnt & _held_out(dataset)


def test_another_file_in_its_place_is_refused_and_makes_another_key(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(source.read_bytes())
    dataset, before = _prepared(_streamed(file), tmp_path / "data"), data_stage.told(RunConfig(data=_streamed(file)))
    with file.open("a") as stream:
        stream.write(json.dumps(chat(1000)) + "\n")
    assert data_stage.told(RunConfig(data=_streamed(file))) != before
    with pytest.raises(DataProblem, match=r"is not the file that rows were held out of: type force=\[data\]"):
        _reading(dataset, tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds no rows"),
        ([messages((USER, "a"))], "no assistant turn in any row"),
        ([chat(1)], "type data"),
    ],
)
def test_a_source_with_nothing_to_learn_from_is_refused(tmp_path: Path, rows: list[object], said: str) -> None:
    with pytest.raises(DataProblem, match=said):
        _prepared(_streamed(write_jsonl(tmp_path / "rows.jsonl", rows)), tmp_path / "data")


def _values(**changes: Any) -> FullTrain:
    return FullTrain(
        **runs.train_values(
            batch_size=4,
            save_steps=4,
            log_steps=1,
            max_length=64,
            micro_batch=2,
            extra={"max_steps": _STEPS},
            **changes,
        )
    )


class _Sink:
    """A tracker that dies with the process at one step, as by SIGKILL."""

    def __init__(self, *, dies_at: int = 0) -> None:
        self._dies_at = dies_at

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        if step == self._dies_at:
            raise KeyboardInterrupt


def _fit(dataset: Dataset, model: Path, folder: Path, *, packing: bool, sink: _Sink) -> tuple[Training, runs.Heard]:
    start = load.start(LocalModel(path=str(model)), texts=[], seed=0, folder=folder)
    config = runs.config(StageName.train, outputs=folder.parent, train=_values(packing=packing))
    rundir, heard = runs.rundir(folder, outputs=folder.parent)
    train = streamed.learnt(config, dataset, start.tokenizer, rundir)
    place = device.choose(config.compute, precision=config.train.precision)
    done = train(
        start.model, start.tokenizer, device=place, seed=0, folder=folder / "steps", events=rundir.events, sink=sink
    )  # fmt: skip
    return done, heard


@pytest.mark.parametrize("packing", [True, False])
def test_an_interrupted_training_ends_with_the_same_weights(
    dataset: Dataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: bool
) -> None:
    monkeypatch.setattr("phi_runner.model.tokens.packing._WINDOW_TOKENS", 1500)
    whole, _heard = _fit(dataset, model, tmp_path / "whole", packing=packing, sink=_Sink())
    assert whole.steps == _STEPS
    with pytest.raises(KeyboardInterrupt):
        _fit(dataset, model, tmp_path / "cut", packing=packing, sink=_Sink(dies_at=7))
    again, heard = _fit(dataset, model, tmp_path / "cut", packing=packing, sink=_Sink())
    assert "continues from step 4" in heard.text()
    one, other = whole.model.state_dict(), again.model.state_dict()
    assert all((one[name] == other[name]).all() for name in one)
    assert whole.losses() == again.losses()


def test_a_whole_run_learns_from_no_held_out_row_and_writes_none(
    source: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[str] = []
    read = streaming.Reading.__call__

    def heard(self: streaming.Reading) -> Iterator[Any]:
        for dialogue in read(self):
            learnt.append(dialogue[0]["content"])
            yield dialogue

    monkeypatch.setattr(streaming.Reading, "__call__", heard)
    stages = (StageName.data, StageName.train)
    config = runs.config(*stages, outputs=tmp_path, data=_streamed(source), train=_values(packing=True))
    config = replace(config, model=LocalModel(path=str(model)))
    runner.perform(config, folder=tmp_path / "runs" / "one", overrides=[], recipe="", trial=None)
    record = json.loads((tmp_path / "runs" / "one" / "run.json").read_text())
    told = {stage["name"]: stage for stage in record["stages"]}
    assert [told[name]["status"] for name in stages] == ["done", "done"]
    assert told["data"]["summary"] == "train rows streamed, 20 test rows (messages)"
    assert artifacts.load(TrainedModel, folder=Path(told["train"]["result"])).steps == _STEPS
    held_out = _held_out(artifacts.load(Dataset, folder=Path(told["data"]["result"])))
    assert len(set(learnt)) > 100
    assert not set(learnt) & held_out
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    there = {question for question in [*learnt, *held_out] if f'"{question}"'.encode() in written}
    assert there == held_out


def test_packed_rows_of_a_window_are_shuffled_and_the_same_each_time(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    chats = [chat(number)["messages"] for number in range(60)]
    chats = [
        [messages[0], messages[1] | {"content": "word " * (number % 12 + 1)}] for number, messages in enumerate(chats)
    ]
    rows = [
        list(tokens.stream(tokenizer, lambda: chats, max_length=64, packed=True, seed=seed)) for seed in (None, 1, 1, 2)
    ]
    plain, one, same, other = ([row["input_ids"] for row in found] for found in rows)
    assert one == same
    assert one != plain
    assert one != other
    assert sorted(one) == sorted(plain)
