"""Written rows: the same in both forms, readable by `datasets`, and a full disk is an error with its number."""

import errno
import hashlib
import json
from pathlib import Path

import pytest

from phi_runner.data.rows import Message, Row
from phi_runner.data.write import write_rows

ROWS: list[Row] = [
    [Message(role="user", content=f"q{number}\r\né 😀\u2028"), Message(role="assistant", content="a" * number)]
    for number in range(2100)
]


def test_both_forms_hold_the_rows_in_order(tmp_path: Path) -> None:
    import datasets

    jsonl = tmp_path / "rows.jsonl"
    digest = write_rows(ROWS, arrow=tmp_path / "rows.arrow", jsonl=jsonl)
    assert digest == hashlib.sha256(jsonl.read_bytes()).hexdigest()
    lines = jsonl.read_bytes().decode("utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"messages": row} for row in ROWS]
    assert "é 😀" in lines[0]
    table = datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))
    assert table.column_names == ["messages"]
    assert list(table["messages"]) == ROWS


@pytest.mark.parametrize("full", ["arrow", "jsonl"])
def test_a_full_disk_keeps_its_error_number(tmp_path: Path, full: str) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("needs a device that is always full")
    (tmp_path / full).symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is what matters
        write_rows(ROWS, arrow=tmp_path / "arrow", jsonl=tmp_path / "jsonl")
    assert raised.value.errno == errno.ENOSPC
