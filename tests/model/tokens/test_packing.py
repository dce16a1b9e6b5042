"""Packed rows: no dialogue is divided, none learns to follow another, and little space is lost."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.model import tokens
from phi_runner.model.tokens import packing
from tests.model.tokens.chats import make_tokenizer, numbered, write

_MOST = 64


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def _documents(packed: Any) -> list[tuple[list[int], list[int]]]:
    found = []
    for row in packed:
        assert sum(row["seq_lengths"]) == len(row["input_ids"]) == len(row["labels"]) <= _MOST
        start = 0
        for length in row["seq_lengths"]:
            found.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
            start += length
    return found


@pytest.mark.parametrize("assistant_only", [True, False])
def test_every_dialogue_is_there_once_with_its_labels(tokenizer: Any, assistant_only: bool) -> None:
    rows = tokens.tokenise(tokenizer, numbered(50), max_length=_MOST, assistant_only=assistant_only)
    packed = tokens.pack(rows, max_length=_MOST)
    assert len(packed) < len(rows.lengths)
    wanted = [(ids, [tokens.IGNORED, *labels[1:]]) for ids, labels in zip(rows.input_ids, rows.labels, strict=True)]
    assert sorted(_documents(packed)) == sorted(wanted)
    assert {str(feature) for feature in packed.features.values()} == {"List(Value('int32'))"}


def test_packed_rows_are_cached_beside_the_rows(tokenizer: Any, tmp_path: Path) -> None:
    file, cache = write(numbered(50), file=tmp_path / "train.arrow"), tmp_path / "cache"
    found = []
    for _ in range(2):
        rows = tokens.tokenise_file(tokenizer, file, max_length=_MOST, cache=cache)
        found.append(tokens.pack(rows, max_length=_MOST))
    assert (
        found[0][:]
        == found[1][:]
        == tokens.pack(tokens.tokenise(tokenizer, numbered(50), max_length=_MOST), max_length=_MOST)[:]
    )
    assert found[0].cache_files == found[1].cache_files
    assert len(list(cache.glob("*/packed.arrow"))) == 1


def test_windows_bound_what_is_held_and_lose_nothing(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_WINDOW_TOKENS", 200)
    monkeypatch.setattr("phi_runner.model.tokens.dialogues.BATCH_ROWS", 4)
    rows = tokens.tokenise(tokenizer, numbered(50), max_length=_MOST)
    batches = rows.dataset.data.table.to_batches()
    packed = list(packing.packed(iter(batches), max_length=_MOST))
    assert len(packed) > 5
    assert max(len(batch.column(0).flatten()) for batch in packed) < 200 + _MOST
    assert sum(len(batch.column(0).flatten()) for batch in packed) == rows.tokens


@given(st.lists(st.integers(1, 100), min_size=1, max_size=200))
def test_bins_hold_every_row_once_and_are_well_filled(lengths: list[int]) -> None:
    bins = packing.best_fit(np.array(lengths, np.int32), most=100)
    assert sorted(row for one in bins for row in one) == list(range(len(lengths)))
    filled = sorted(sum(lengths[row] for row in one) for one in bins)
    assert filled[-1] <= 100
    assert all(a + b > 100 for a, b in pairwise(filled))


def test_a_pack_is_filled_as_by_trl() -> None:
    import pyarrow as pa
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    chance = np.random.default_rng(0)
    lengths = chance.integers(1, 300, 800).astype(np.int32)
    theirs = pack_dataset(Dataset(pa.table({"input_ids": [[1] * n for n in lengths.tolist()]})), 512, "bfd")
    assert len(packing.best_fit(lengths, most=512)) == len(theirs)
