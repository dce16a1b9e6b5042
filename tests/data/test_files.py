"""Local files: four suffixes, and one clear line for everything that can be wrong with a file."""

import codecs
import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_runner.data.files import open_file
from phi_runner.errors import DataProblem
from tests.data.chats import chat, write_jsonl


@pytest.fixture(autouse=True)
def _work_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that a user types are relative to where the command is typed."""
    monkeypatch.chdir(tmp_path)


def read(typed: str) -> list[tuple[str, object]]:
    source = open_file(typed, key="data.train_file")
    found = [(record.place, dict(record.fields)) for record in source.read()]
    assert source.total() == len(found)
    return found


def test_jsonl_rows_carry_their_line_and_blank_lines_are_no_rows() -> None:
    Path("a.jsonl").write_bytes(b'{"n": 1}\r\n\n  \n{"n": "\\r\\n"}')
    assert read("a.jsonl") == [("a.jsonl:1 (row 1)", {"n": 1}), ("a.jsonl:4 (row 2)", {"n": "\r\n"})]


def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    write_jsonl(Path("a.jsonl"), [{"text": "one\u2028two\x85three"}])
    assert read("a.jsonl") == [("a.jsonl:1 (row 1)", {"text": "one\u2028two\x85three"})]


@pytest.mark.parametrize("wrap", [list, lambda rows: {"data": rows, "version": 1}])
def test_json_holds_an_array_or_an_object_with_data(wrap: Callable[[list], object]) -> None:
    Path("a.json").write_text(json.dumps(wrap([chat(1), chat(2)]), indent=2))
    assert read("a.json") == [("a.json row 1", chat(1)), ("a.json row 2", chat(2))]


def test_csv_values_span_lines_and_exceed_the_csv_modules_limit() -> None:
    long = "word " * 40_000
    with Path("a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["prompt", "completion"], ["two\n\nlines", "é, ü"], [], ["long", long]])
    assert read("a.csv") == [
        ("a.csv:2 (row 1)", {"prompt": "two\n\nlines", "completion": "é, ü"}),
        ("a.csv:6 (row 2)", {"prompt": "long", "completion": long}),
    ]


def test_parquet_is_read_in_batches() -> None:
    pq.write_table(pa.Table.from_pylist([chat(number) for number in range(2500)]), "a.parquet")
    found = read("a.parquet")
    assert len(found) == 2500
    assert found[2400] == ("a.parquet row 2401", chat(2400))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_is_accepted(name: str) -> None:
    text = {"a.jsonl": '{"prompt": "é"}\n', "a.json": '[{"prompt": "é"}]', "a.csv": "prompt\né\n"}[name]
    Path(name).write_bytes(codecs.BOM_UTF8 + text.encode())
    assert [fields for _place, fields in read(name)] == [{"prompt": "é"}]


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_jsonl(tmp_path / "a.jsonl", [chat(1)])
    assert [fields for _place, fields in read("~/a.jsonl")] == [chat(1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_an_empty_file_holds_no_rows(name: str) -> None:
    Path(name).touch()
    assert read(name) == []


OBJECT = 'a row must be a JSON object like {"messages": [...]}, this is'
SUFFIXES = "the file's name must end in .jsonl, .json, .csv or .parquet"
BAD_FILES = [
    ("a.jsonl", b'{"n": 1}\n{"n": \n', "a.jsonl:2: not JSON: Expecting value (column 6)"),
    ("a.jsonl", b"{'n': 1}\n", "a.jsonl:1: not JSON: Expecting property name enclosed in double quotes (column 2)"),
    ("a.jsonl", b'{"n": 1}\n"text"\n', f"a.jsonl:2 (row 2): {OBJECT} a text"),
    ("a.jsonl", b'{"n": 1}\n3\n', f"a.jsonl:2 (row 2): {OBJECT} a number"),
    ("a.jsonl", b"null\n", f"a.jsonl:1 (row 1): {OBJECT} null"),
    ("a.jsonl", b'[{"n": 1}]\n', "a.jsonl: a JSON array, but .jsonl has one object a line: name the file .json"),
    ("a.jsonl", b"[" * 100_000, "a.jsonl:1: brackets nested too deeply to be read"),
    ("a.jsonl", b'{"n": ' + b"9" * 5000 + b"}", "a.jsonl:1: a number of too many digits to be read"),
    ("a.jsonl", b'{"n": 1}\n{"n": "caf\xe9"}\n', "a.jsonl:2: byte 19 (0xe9) is not UTF-8: save the file as UTF-8"),
    ("a.jsonl", '{"n": 1}\n'.encode("utf-16"), "a.jsonl:1: byte 0 (0xff) is not UTF-8: save the file as UTF-8"),
    ("a.json", b'{"n": 1}\n{"n": 2}\n',
     "a.json:2: not JSON: Extra data (column 1): one object a line belongs in a .jsonl file"),
    ("a.json", b'[{"n": 1},\n\n{"n"}]', "a.json:3: not JSON: Expecting ':' delimiter (column 5)"),
    ("a.json", b'{"rows": []}',
     'a.json: not an array of rows: write [{...}, {...}] or {"data": [{...}]}, '
     'or one object a line in a .jsonl file'),
    ("a.json", b"[[1]]", f"a.json row 1: {OBJECT} an array"),
    ("a.json", b'[\n"\xff"]', "a.json:2: byte 3 (0xff) is not UTF-8: save the file as UTF-8"),
    ("a.csv", b"prompt,completion\none,two,three\n",
     "a.csv:2: 3 values for 2 columns: put values that hold a comma in double quotes"),
    ("a.csv", b'prompt,completion\n"one,two\n', "a.csv:2: not CSV: unexpected end of data"),
    ("a.csv", b"prompt\ncaf\xe9\n", "a.csv:2: byte 10 (0xe9) is not UTF-8: save the file as UTF-8"),
    ("a.parquet", b"PAR1 is not enough",
     "a.parquet: not a Parquet file: Parquet magic bytes not found in footer. "
     "Either the file is corrupted or this is not a parquet file."),
    ("a.txt", b"", f"data.train_file=a.txt: the suffix .txt is not known: {SUFFIXES}"),
    ("chats", b"", f"data.train_file=chats: it has no suffix: {SUFFIXES}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_what_is_wrong_with_a_file_is_said_in_one_line(name: str, content: bytes, said: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataProblem) as raised:
        read(name)
    assert str(raised.value) == said


def test_a_damaged_parquet_file_is_told_from_a_wrong_one() -> None:
    pq.write_table(pa.table({"n": list(range(5000))}), "a.parquet")
    content = bytearray(Path("a.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    Path("a.parquet").write_bytes(content)
    with pytest.raises(DataProblem, match=r"^a\.parquet(:| cannot)"):
        read("a.parquet")


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    Path("train.jsonl").touch()
    with pytest.raises(DataProblem) as raised:
        read("trian.jsonl")
    assert str(raised.value) == "data.train_file=trian.jsonl does not exist: did you mean data.train_file=train.jsonl?"
    with pytest.raises(DataProblem) as raised:
        read("other.csv")
    assert str(raised.value) == f"data.train_file=other.csv does not exist in {tmp_path}"
    with pytest.raises(DataProblem) as raised:
        read("no/such/a.jsonl")
    assert str(raised.value) == f"data.train_file=no/such/a.jsonl does not exist: there is no folder {tmp_path}/no/such"


def test_a_folder_is_refused() -> None:
    Path("chats.jsonl").mkdir()
    with pytest.raises(DataProblem, match=r"^data\.train_file=chats\.jsonl is a folder: name one of the files in it$"):
        read("chats.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_file_that_fails_while_it_is_read_is_named(name: str) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that opens and cannot be read")
    Path(name).symlink_to("/proc/self/mem")
    with pytest.raises(DataProblem, match=rf"^{name} cannot be read: Input/output error$"):
        read(name)
