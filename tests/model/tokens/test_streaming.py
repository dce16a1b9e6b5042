"""Token rows made on the fly: the same ones, none of them held or written."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from phi_runner.model import tokens
from phi_runner.model.tokens import packing
from tests.model.tokens.chats import CHATS, make_tokenizer, numbered, write


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_gives_the_rows_that_a_file_gives(tokenizer: Any, tmp_path: Path, packed: bool) -> None:
    chats = [*CHATS, *numbered(40)]
    file = write(chats, file=tmp_path / "train.arrow")
    rows = tokens.tokenise_file(tokenizer, file, max_length=60, cache=tmp_path / "cache")
    wanted = tokens.pack(rows, max_length=60) if packed else rows.dataset
    found = tokens.stream(tokenizer, lambda: chats, max_length=60, packed=packed)
    for _pass in range(2):
        assert list(found) == list(wanted)
    assert found.features == wanted.features


def test_a_stream_reads_no_further_than_it_must(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless dialogues, a few rows taken: what is read ahead is a few batches and one window."""
    monkeypatch.setattr("phi_runner.model.tokens.dialogues.BATCH_ROWS", 8)
    monkeypatch.setattr(packing, "_WINDOW_TOKENS", 400)
    read = []

    def endless() -> Iterator[Any]:
        while True:
            for chat in numbered(20):
                read.append(1)
                yield chat

    found = tokens.stream(tokenizer, endless, max_length=64, packed=True)
    assert len(list(islice(found, 5))) == 5
    assert len(read) < 100


def test_a_stream_goes_on_where_it_was(tokenizer: Any) -> None:
    found = tokens.stream(tokenizer, lambda: numbered(40), max_length=64)
    rows, state = list(found), None
    for place, _row in enumerate(found):
        if place == 9:
            state = found.state_dict()
            break
    again = tokens.stream(tokenizer, lambda: numbered(40), max_length=64)
    again.load_state_dict(state)
    assert list(again) == rows[10:]
