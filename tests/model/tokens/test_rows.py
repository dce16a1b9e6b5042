"""Token rows on disk: made once, found again, made anew when what they come from or what lies there has changed."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi_runner.errors import StoreProblem
from phi_runner.model import tokens
from phi_runner.model.tokens import TokenRows, rows
from phi_runner.model.tokens.encode import Encoder
from tests.model.tokens.chats import CHATS, make_tokenizer, numbered, write


@pytest.fixture
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write([*CHATS, *numbered(30)], file=tmp_path / "train.arrow")


class Made:
    """Makes token rows and counts how many of them were encoded for it."""

    def __init__(self, tokenizer: Any, cache: Path) -> None:
        self.tokenizer, self.cache, self.encoded = tokenizer, cache, 0

    def __call__(self, file: Path, **changes: Any) -> TokenRows:
        def heard(done: int) -> None:
            self.encoded = done

        self.encoded = 0
        return tokens.tokenise_file(
            self.tokenizer, file, cache=self.cache, on_rows=heard, **{"max_length": 128, **changes}
        )


@pytest.fixture
def made(tokenizer: Any, tmp_path: Path) -> Made:
    return Made(tokenizer, tmp_path / "cache")


def _content(found: TokenRows) -> list[Any]:
    return [list(found.input_ids), list(found.labels)]


def test_a_file_gives_the_rows_that_its_dialogues_give(made: Made, file: Path, tokenizer: Any) -> None:
    found, wanted = made(file), tokens.tokenise(tokenizer, [*CHATS, *numbered(30)], max_length=128)
    assert _content(found) == _content(wanted)
    assert found.lengths.tolist() == [len(ids) for ids in wanted.input_ids]
    assert found.tokens == sum(map(len, wanted.input_ids))
    assert found.taught == sum(label != tokens.IGNORED for labels in wanted.labels for label in labels)
    assert str(found.dataset.features["input_ids"]) == "List(Value('int32'))"


def test_a_second_run_encodes_nothing(made: Made, file: Path) -> None:
    first = made(file)
    assert made.encoded == 32
    again = made(file)
    assert made.encoded == 0
    assert _content(again) == _content(first)
    assert (again.taught, again.shortened, again.dropped) == (first.taught, first.shortened, first.dropped)


def test_what_the_rows_depend_on_makes_them_anew(made: Made, file: Path, tmp_path: Path, tokenizer: Any) -> None:
    made(file)
    for changes in ({"max_length": 127}, {"assistant_only": False}):
        made(file, **changes)
        assert made.encoded == 32
    made(write(numbered(7), file=tmp_path / "other.arrow"))
    assert made.encoded == 7
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|end|> ")
    made(file)
    assert made.encoded == 32
    tokenizer.add_tokens(["Microsoft"])
    assert "Microsoft" in tokenizer.convert_ids_to_tokens(made(file).input_ids[0])
    assert made.encoded == 32


@pytest.mark.parametrize("harm", ["cut", "flip", "facts", "missing"])
def test_a_damaged_cache_is_made_anew(made: Made, file: Path, harm: str) -> None:
    whole = _content(made(file))
    [kept] = made.cache.glob("*/rows-*.arrow")
    match harm:
        case "cut":
            os.truncate(kept, 100)
        case "flip":
            content = bytearray(kept.read_bytes())
            content[len(content) // 2] ^= 1
            kept.write_bytes(content)
        case "facts":
            kept.with_name("facts.json").write_text("{")
        case "missing":
            kept.with_name("lengths.npy").unlink()
    assert _content(made(file)) == whole
    assert made.encoded == 32


def test_several_processes_make_the_same_rows(made: Made, file: Path, tmp_path: Path) -> None:
    alone = made(file, max_length=40)
    shared = Made(made.tokenizer, tmp_path / "shared")(file, max_length=40, processes=2)
    assert _content(shared) == _content(alone)
    assert shared.lengths.tolist() == alone.lengths.tolist()
    assert (shared.taught, shared.shortened, shared.dropped) == (alone.taught, alone.shortened, alone.dropped)
    assert len(shared.dataset.cache_files) == 2
    assert tokens.pack(shared, max_length=40)[:] == tokens.pack(alone, max_length=40)[:]


_CHILD = """
import sys, time
from pathlib import Path
from phi_runner.model import tokens
from tests.model.tokens.chats import make_tokenizer
cache, file, slow = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
tokenizer, encoded = make_tokenizer(), []
def heard(done):
    encoded.append(done)
    print("encodes", flush=True)
    time.sleep(slow)
found = tokens.tokenise_file(tokenizer, file, max_length=128, cache=cache, on_rows=heard)
print("encoded", max(encoded, default=0), "tokens", found.tokens, flush=True)
"""


def _child(cache: Path, file: Path, *, slow: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _CHILD, str(cache), str(file), str(slow)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_encodes_and_the_other_takes_its_rows(made: Made, file: Path) -> None:
    first = _child(made.cache, file, slow=0.5)
    assert first.stdout is not None
    assert first.stdout.readline() == "encodes\n"
    waited: list[bool] = []
    found = tokens.tokenise_file(
        made.tokenizer, file, max_length=128, cache=made.cache, on_wait=lambda: waited.append(True)
    )
    assert first.communicate()[0] == f"encoded 32 tokens {found.tokens}\n"
    assert waited == [True]


def test_a_killed_run_leaves_nothing_that_is_taken_for_whole(made: Made, file: Path) -> None:
    killed = _child(made.cache, file, slow=60)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "encodes\n"
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert _content(made(file))
    assert made.encoded == 32
    assert not [left for left in made.cache.iterdir() if left.name.endswith(".partial")]


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(made: Made, file: Path) -> None:
    def full(_done: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        StoreProblem, match=r"^cannot write .*No space left on device; make room there, or .*outputs=FOLDER$"
    ):
        tokens.tokenise_file(made.tokenizer, file, max_length=128, cache=made.cache, on_rows=full)
    assert [left.suffix for left in made.cache.iterdir()] == [".lock"]


def test_results_not_used_for_long_make_room_for_new_ones(
    made: Made, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phi_runner.model.tokens.cache._KEPT", 2)
    for length in (100, 101, 100, 102):
        made(file, max_length=length)
    assert len(list(made.cache.glob("[!.]*"))) == 2
    made(file, max_length=100)
    assert made.encoded == 0


def test_batches_come_and_go_while_a_file_is_encoded(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: a dialogue is read only when one some batches before it has been taken."""
    from phi_runner.model.tokens import dialogues, pipeline

    monkeypatch.setattr(dialogues, "BATCH_ROWS", 8)
    read = []

    def reading() -> Any:
        for number, chat in enumerate(numbered(400)):
            read.append(number)
            yield chat

    taken = 0
    for block in pipeline.encoded(Encoder(tokenizer, max_length=128, assistant_only=True), reading()):
        taken += len(block.lengths)
        assert len(read) <= taken + 8 * pipeline._AHEAD
    assert taken == len(read) == 400


def test_long_dialogues_come_in_smaller_batches() -> None:
    from phi_runner.model.tokens import dialogues

    long = [{"role": "user", "content": "x" * 900_000}, {"role": "assistant", "content": "y"}]
    assert [len(batch) for batch in dialogues.batches([long] * 7)] == [3, 3, 1]


def test_an_empty_file_gives_no_rows(made: Made, tmp_path: Path) -> None:
    found = made(write([], file=tmp_path / "empty.arrow"))
    assert (len(found.lengths), found.tokens, len(found.dataset)) == (0, 0, 0)
    assert len(rows.pack(found, max_length=128)) == 0


def test_first_rows_and_texts_are_read_in_order(file: Path) -> None:
    assert tokens.first(file, 2) == CHATS
    assert next(tokens.texts(file)) == "Who founded Microsoft?"
    assert len(list(tokens.texts(file))) == sum(map(len, [*CHATS, *numbered(30)]))
    assert tokens.first(file, 10**6) == [*CHATS, *numbered(30)]
