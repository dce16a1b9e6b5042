"""What looks personal is found and hidden; numbers and names that only look so are left alone."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_runner.preflight.numbers import luhn, mod97
from phi_runner.preflight.personal import masked, personal

_DIGITS = st.text(string.digits, min_size=11, max_size=11)


@given(_DIGITS, st.integers(0, 14), st.integers(1, 9))
def test_one_wrong_digit_is_no_card(middle: str, place: int, more: int) -> None:
    number = _card(f"4111{middle}")
    wrong = number[:place] + str((int(number[place]) + more) % 10) + number[place + 1 :]
    assert luhn(number)
    assert not luhn(wrong)


@given(_DIGITS)
def test_a_card_is_never_shown(middle: str) -> None:
    number = _card(f"4111{middle}")
    shown = masked(f"Pay with {number}, please.")
    assert number not in shown
    assert number[-6:] not in shown


@given(st.text("0123456789", min_size=18, max_size=18))
def test_an_account_with_other_check_digits_is_none(body: str) -> None:
    right = f"DE{98 - mod97(f'DE00{body}'):02}{body}"
    wrong = f"DE{(int(right[2:4]) + 1) % 100:02}{body}"
    assert "iban" in personal(f"to {right} by Friday")
    assert "iban" not in personal(f"to {wrong} by Friday")


@given(st.text())
def test_any_text_can_be_masked(text: str) -> None:
    assert len(masked(text)) <= len(text) + 6 * len(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jo.doe+x@post-mail.co.uk.", "email"), ("ruf +49 171 1234567 an", "phone"),
        ("call (212) 555-2368 today", "phone"), ("le 06 12 34 56 78", "phone"), ("Tel. 0171/1234567", "phone"),
        ("from 145.89.23.77", "ip"), ("from 2a02:8109:9a3f:1b2c:3d4e:5f60:7182:93a4", "ip"),
        ("use AKIA2E7QZ6JW4TBV5MKD", "key"), ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "key"),
        ("postgres://admin:hunter2x@db.intern.net/main", "key"), ("-----BEGIN OPENSSH PRIVATE KEY-----", "key"),
        ("api_key = 'q8Zr2Lm5Xw9Tb4Vn7Kc1'", "key"), ("card 5555 5555 5555 4444 expired", None),
        ("card 5105-1051-0510-5100 expired", None), ("card 4012 8888 8888 1881", "card"),
    ],
)  # fmt: skip
def test_what_is_personal_is_found(text: str, kind: str | None) -> None:
    assert list(personal(text)) == ([kind] if kind else [])


def test_several_kinds_are_told_apart_and_hidden() -> None:
    text = "Mail ada@riga-post.org or call +371 2612 3456, pay to DE89370400440532013000."
    assert set(personal(text)) == {"email", "phone", "iban"}
    shown = masked(text)
    assert "riga-post" not in shown
    assert "3456" not in shown
    assert "0532013000" not in shown
    assert "or call" in shown


def test_a_piece_shows_nothing_of_what_begins_before_it() -> None:
    text = "Mail ada@riga-post.org now."
    assert "riga" not in masked(text, begin=8)
    assert masked(text, begin=22) == " now."


def _card(start: str) -> str:
    return next(start + last for last in string.digits if luhn(start + last))
