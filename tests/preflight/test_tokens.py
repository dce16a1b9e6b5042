"""Tokens are counted as training makes them: the same tokenizer, template, shortening and packing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import DpoTrain, FileData, HubModel, LocalModel, RunConfig, SampleData, StageName
from phi_runner.data.prepare import prepare
from phi_runner.events import Events, StageEvents
from phi_runner.model import pairs, tokens
from phi_runner.model import tokenizer as bpe
from phi_runner.model.tokens import packing
from phi_runner.preflight import lengths
from phi_runner.preflight.token_count import count, learnt_rows
from tests.data.chats import write_jsonl
from tests.runs import config, train_values

_SILENT = StageEvents(Events(), "data")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(SampleData(), seed=0, folder=tmp_path_factory.mktemp("sample"), events=_SILENT)


def _run(tmp_path: Path, **train: object) -> RunConfig:
    run = config(StageName.data, outputs=tmp_path, data=SampleData())
    for name, value in train.items():
        setattr(run.train, name, value)
    return run


@pytest.mark.parametrize("max_length", [2048, 60, 24])
def test_tokens_are_those_of_training(sample: Dataset, tmp_path: Path, max_length: int) -> None:
    run = _run(tmp_path, max_length=max_length, packing=True)
    found = count(run, sample)
    tokenizer = bpe.train(tokens.texts(sample.train_file), vocab_size=run.model.vocab_size, context=256)  # type: ignore[attr-defined]
    rows = tokens.tokenise_file(tokenizer, sample.train_file, max_length=max_length, cache=tmp_path / "tokens")
    assert (found.kept, found.kept_taught) == (rows.tokens, rows.taught)
    assert (found.shortened, found.dropped) == (rows.shortened, rows.dropped)
    assert found.packed == len(tokens.pack(rows, max_length=max_length))
    assert not found.estimated


def test_every_token_counts_where_all_are_learnt(sample: Dataset, tmp_path: Path) -> None:
    found = count(_run(tmp_path, assistant_only_loss=False, max_length=2048), sample)
    assert found.kept_taught == found.kept == found.whole


@given(st.lists(st.integers(1, 64), min_size=1, max_size=400))
def test_packing_is_counted_as_it_is_done(found: list[int]) -> None:
    rows = np.array(found, np.int32)
    assert packing.count(rows, max_length=64) == len(packing.best_fit(rows, most=64))


def test_windows_are_packed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_WINDOW_TOKENS", 100)
    rows = np.array([30, 30, 30, 10, 60, 20, 40], np.int32)
    block = tokens.block.Block(ids=np.zeros(rows.sum(), np.int32), labels=np.zeros(rows.sum(), np.int32), lengths=rows)
    packed = sum(batch.num_rows for batch in packing.packed([block.batch()], max_length=64))
    assert packing.count(rows, max_length=64) == packed


def test_steps_follow_from_packed_rows(sample: Dataset, tmp_path: Path) -> None:
    run = _run(tmp_path, packing=True, batch_size=4, epochs=3, max_length=128)
    found = count(run, sample)
    assert found.steps(run) == 3 * -(-found.packed // 4)
    run.train.extra = {"max_steps": 7}
    assert found.steps(run) == 7


def test_pairs_are_counted_as_they_are_compared(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {n}?", "chosen": "A good and rather long answer " * n, "rejected": "No."}
        for n in range(1, 30)
    ]
    data = FileData(train_file=str(write_jsonl(tmp_path / "pairs.jsonl", rows)))
    dataset = prepare(data, seed=0, folder=tmp_path, events=_SILENT)
    run = config(StageName.data, outputs=tmp_path, data=data, train=DpoTrain(**train_values(max_length=60)))
    found = count(run, dataset)
    tokenizer = bpe.train(tokens.texts(dataset.train_file), vocab_size=500, context=256)
    told = pairs.tokenise(tokenizer, pairs.read(dataset.train_file), max_length=60)
    assert (found.shortened, found.dropped) == (told.shortened, told.dropped)
    assert found.kept == sum(told.lengths())
    assert found.kept_taught == sum(map(len, told.chosen_ids)) + sum(map(len, told.rejected_ids))


def test_a_model_that_is_not_here_is_estimated_and_said_so(sample: Dataset, tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.model = HubModel(repo="nobody/no-such-model", context=4096)
    found = count(run, sample)
    assert found.estimated
    assert "not on this machine" in found.tokenizer
    exact = count(_run(tmp_path), sample)
    assert 0.5 < found.whole / exact.whole < 2.0


def test_estimates_never_keep_more_than_the_limit(sample: Dataset, tmp_path: Path) -> None:
    run = _run(tmp_path)
    found = lengths.estimated(learnt_rows(run, sample), max_length=40, assistant_only=True)
    assert max(found.kept) <= 40
    assert all(taught <= kept for kept, taught in zip(found.kept, found.kept_taught, strict=True))


def test_a_model_in_a_folder_is_counted_with_its_own_tokenizer(sample: Dataset, tmp_path: Path) -> None:
    tokenizer = bpe.train(tokens.texts(sample.train_file), vocab_size=500, context=256)
    tokenizer.save_pretrained(tmp_path / "model")
    run, nano = _run(tmp_path), _run(tmp_path)
    run.model = LocalModel(path=str(tmp_path / "model"))
    found, made = count(run, sample), count(nano, sample)
    assert found.tokenizer == f"of {tmp_path / 'model'}"
    assert (found.whole, found.kept_taught, found.packed) == (made.whole, made.kept_taught, made.packed)
