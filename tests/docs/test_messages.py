"""What the troubleshooting page quotes is what the code says, word for word."""

import re

import pytest

from scripts.docs import messages
from tests.docs import pages

TROUBLE = pages.ROOT / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^### `(.+)`$", pages.text(TROUBLE), re.MULTILINE)
GOLDEN = tuple((pages.ROOT / "tests" / "golden" / "errors.txt").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("quoted", QUOTED)
def test_every_heading_is_a_message_of_the_code(quoted: str) -> None:
    assert messages.occurs(quoted, among=(*GOLDEN, *messages.texts())), quoted


def test_every_reason_for_leaving_a_row_out_is_a_message_of_the_code() -> None:
    table = pages.section(pages.ROOT / "docs" / "data.md", "What is left out")
    quoted = [
        text for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for text in row.strip("`").split("`, `")
    ]
    assert len(quoted) > 5
    assert [text for text in quoted if not messages.occurs(text, among=messages.texts())] == []


def test_no_message_is_explained_twice() -> None:
    assert len(QUOTED) == len(set(QUOTED)) > 60


def test_every_error_that_says_what_was_meant_is_covered() -> None:
    """Each line of the golden file is found by somebody who searches the page for its fixed words."""
    told = [line for line in GOLDEN if not line.startswith("$ ")]
    found = [line for line in told if any(messages.occurs(quoted, among=(line,)) for quoted in QUOTED)]
    assert len(found) / len(told) > 0.9, sorted(set(told) - set(found))
