"""Personal things and keys that belong to nobody, drawn at random."""

import random

from benchmarks.stories import PEOPLE, PLACES
from phi_runner.preflight.numbers import luhn, mod97

_PHONES = (
    "+49 17n ddddddd", "+44 20 dddd dddd", "(ndd) ndd-dddd", "ndd-ndd-dddd", "+1 ndd ndd dddd", "030 nddddddd",
    "0n nd dd dd dd", "017n/ddddddd", "+81-3-dddd-dddd", "+8613ddddddddd",
)  # fmt: skip
"""`n` is a digit from 2 on, `d` any."""


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(count))


def email(chance: random.Random) -> str:
    """Return an e-mail address."""
    name, host = chance.choice(PEOPLE.split()).lower(), chance.choice(PLACES.split()).lower()
    mark, domain = chance.choice(".-_+"), chance.choice(["mail.com", "post.org", "mail.de", "post.co.uk", "mail.io"])
    return f"{name}{mark}{_digits(chance, 2)}@{host}-{domain}"


def phone(chance: random.Random) -> str:
    """Return a phone number, in one of ten ways to write it."""
    digits = {"n": "23456789", "d": "0123456789"}
    return "".join(chance.choice(digits.get(sign, sign)) for sign in chance.choice(_PHONES))


def card(chance: random.Random) -> str:
    """Return a payment card number, as cards are written."""
    start, length = chance.choice([("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16)])
    body = start + _digits(chance, length - len(start) - 1)
    number = next(body + last for last in "0123456789" if luhn(body + last))
    if length == 15:
        return f"{number[:4]} {number[4:10]} {number[10:]}"
    mark = chance.choice([" ", "-", ""])
    return mark.join(number[place : place + 4] for place in range(0, 16, 4))


def iban(chance: random.Random) -> str:
    """Return a bank account number."""
    country, length = chance.choice([("DE", 22), ("FR", 27), ("NL", 18), ("ES", 24), ("GB", 22)])
    body = {"NL": "ABNA", "GB": "NWBK"}.get(country, "")
    body += _digits(chance, length - 4 - len(body))
    account = f"{country}{98 - mod97(f'{country}00{body}'):02}{body}"
    return " ".join(account[place : place + 4] for place in range(0, length, 4)) if chance.random() < 0.5 else account


def letters(chance: random.Random, count: int, among: str) -> str:
    return "".join(chance.choice(among) for _ in range(count))


LOWER, _UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALL = LOWER + _UPPER + "0123456789"


def key(chance: random.Random) -> str:
    """Return something that opens a door."""
    return chance.choice([
        f"AKIA{letters(chance, 16, _UPPER + '234567')}", f"ghp_{letters(chance, 36, _ALL)}",
        f"sk-proj-{letters(chance, 40, _ALL)}", f"hf_{letters(chance, 34, LOWER + _UPPER)}",
        f"xoxb-{_digits(chance, 12)}-{letters(chance, 24, _ALL)}", f"AIza{letters(chance, 35, _ALL)}",
        f"eyJ{letters(chance, 20, _ALL)}.eyJ{letters(chance, 40, _ALL)}.{letters(chance, 43, _ALL)}",
        f"api_key = \"{letters(chance, 32, _ALL)}\"", f"password: {letters(chance, 20, _ALL)}",
        f"postgres://admin:{letters(chance, 12, _ALL)}@db.intern.net/main", "-----BEGIN RSA PRIVATE KEY-----",
        letters(chance, 40, _ALL),
    ])  # fmt: skip


def ip(chance: random.Random) -> str:
    """Return a public IP address."""
    if chance.random() < 0.25:
        return "2a02:" + ":".join(f"{chance.randint(4096, 65535):x}" for _ in range(7))
    first = chance.choice([23, 46, 81, 93, 145, 178])
    return ".".join(map(str, [first, *(chance.randint(20, 250) for _ in range(3))]))
