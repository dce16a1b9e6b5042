"""`data.take`: a count or a share, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.config.take import parse_take
from phi_runner.errors import ConfigProblem


@pytest.mark.parametrize(
    ("text", "total", "rows"),
    [
        ("10", 100, 10),
        ("10", 4, 4),
        (" 3 ", 100, 3),
        ("100%", 7, 7),
        ("1%", 207_865, 2079),
        ("0.5%", 1000, 5),
        ("50%", 5, 3),
        ("1%", 3, 1),
        ("0.0001%", 1, 1),
        ("1%", 0, 0),
        ("33.3%", 1000, 333),
    ],
)
def test_a_take_is_a_number_of_rows(text: str, total: int, rows: int) -> None:
    assert parse_take(text).rows(total) == rows


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0%",
        "0.0%",
        "150%",
        "100.01%",
        "abc",
        "",
        "%",
        "-1",
        "+5",
        "1.5",
        "1e3",
        "10 %",
        "1%%",
        "٣",
        "9" * 5000,
        "[:10]",
    ],
)
def test_anything_else_is_refused_with_what_to_type(text: str) -> None:
    with pytest.raises(ConfigProblem) as raised:
        parse_take(text)
    said = f"data.take={text!r} is not a number of rows: type a count above 0 (10) or a share up to 100% (1%)"
    assert str(raised.value) == said


@given(st.decimals(min_value="0.0001", max_value=100, places=4), st.integers(1, 10**9))
def test_a_share_of_any_rows_is_at_least_one_and_never_more_than_all(share: object, total: int) -> None:
    rows = parse_take(f"{share}%").rows(total)
    assert 1 <= rows <= total
