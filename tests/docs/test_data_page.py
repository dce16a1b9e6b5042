"""The rows that the page on data shows are read as it says: their format is detected, and they can be learned from."""

import csv
import io
import json

import pytest

from phi_runner.config.schema import RowFormat
from phi_runner.data.check import check
from phi_runner.data.formats import detect, turns_of
from phi_runner.data.preference import check_pair
from phi_runner.data.table_files import csv_source
from tests.docs import pages

PAGE = pages.ROOT / "docs" / "data.md"


def example(heading: str) -> dict[str, object]:
    """Return the row below a heading."""
    shown = pages.section(PAGE, heading).partition("```json\n")[2].partition("```")[0]
    row: dict[str, object] = json.loads(shown)
    return row


@pytest.mark.parametrize("spelling", [item for item in RowFormat if item is not RowFormat.auto])
def test_every_format_has_an_example_that_is_recognised(spelling: RowFormat) -> None:
    row = example(str(spelling))
    assert detect(row) is spelling
    if spelling is RowFormat.preference:
        pair = check_pair(row).row
        assert (pair["chosen"], pair["rejected"]) != (pair["rejected"], pair["chosen"])
    else:
        assert check(turns_of(row, spelling=spelling)).row[-1]["role"] == "assistant"


def test_the_csv_is_read_as_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    [shown] = [block.text for block in pages.blocks(PAGE) if block.language == "csv"]
    file = tmp_path_factory.mktemp("csv") / "rows.csv"
    file.write_text(shown)
    [record] = csv_source(file).read()
    assert detect(record.fields) is RowFormat.prompt
    assert dict(record.fields) == next(iter(csv.DictReader(io.StringIO(shown))))
