"""Numbers that belong to a person: cards (Luhn), accounts (IBAN, mod 97), phones, addresses on the net."""

import ipaddress
import re
from collections.abc import Iterator

Span = tuple[int, int]

_CARD = re.compile(r"(?<![\w.,/-])\d(?:[ -]?\d){12,18}(?![\w/-]|[.,]\d)")
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)), (re.compile(r"5[1-5]|2(?:2[2-9]|[3-6]|7[01]|720)"), (16,)),
    (re.compile(r"3[47]"), (15,)), (re.compile(r"6(?:011|4[4-9]|5)"), (16, 19)), (re.compile(r"35[2-8]"), (16,)),
    (re.compile(r"3(?:0[0-5]|[689])"), (14,)), (re.compile(r"62"), (16, 17, 18, 19)),
)  # fmt: skip
_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)}

_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b")
_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
    "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 "
    "SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _COUNTRIES.split()}
"""Length of an account number by country (the SWIFT registry's)."""

_ABROAD = re.compile(r"(?<![\w+.,=/-])(?:\+|00(?=[1-9]\d[ ./-]))[1-9](?:[ ./-]?\(?\d\)?){6,14}(?![\w-])")
_AMERICAN = re.compile(
    r"(?<![\w+.,=/-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([ .-]))[2-9]\d\d[ .-]\d{4}(?![\w/-]|\.\d)"
)
_TRUNK = re.compile(r"(?<![\w+.,:=/-])\(?0[1-9]\d{0,3}\)?(?: ?[/-] ?| )\d{2,8}(?:[ -]\d{2,5}){0,4}(?![\w:/-]|[.,]\d)")
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{4}[ -]\d{4}$")

_V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_V6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:{1,2}){3,7}[0-9A-Fa-f]{1,4}(?![\w:])")
_VERSION = re.compile(r"(?i)\b(?:v|ver\w{0,6}|release|build)[ .:]*$")
_KNOWN_SERVERS = {"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220"}


def cards(text: str) -> Iterator[Span]:
    """Yield payment cards: an issuer's beginning and length, written as cards are, and Luhn's check digit."""
    for found in _CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        groups = tuple(map(len, re.split(r"[ -]", found[0])))
        written = len(groups) == 1 or groups in _GROUPS
        issued = any(start.match(digits) and len(digits) in lengths for start, lengths in _ISSUERS)
        if written and issued and len(set(digits)) > 3 and luhn(digits):
            yield found.span()


def luhn(digits: str) -> bool:
    """Say whether the last digit is the check digit of the others (ISO/IEC 7812)."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """Yield account numbers: the country's length, and the whole is 1 modulo 97 (ISO 13616)."""
    for found in _IBAN.finditer(text):
        plain = found[0].replace(" ", "")
        wanted = _LENGTHS.get(plain[:2], 0)
        if len(plain) >= wanted > 0 and mod97(plain[:wanted]) == 1:
            yield found.span()


def mod97(account: str) -> int:
    """Return the remainder of an account number, its letters as numbers and its first four characters last."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97


def phones(text: str) -> Iterator[Span]:
    """Yield phone numbers: with a country's code, as written in North America, or with a trunk 0 and an area code."""
    for pattern, least, most in ((_ABROAD, 8, 15), (_AMERICAN, 10, 11), (_TRUNK, 9, 12)):
        for found in pattern.finditer(text):
            digits = sum(map(str.isdigit, found[0]))
            if least <= digits <= most and not _DATE.match(found[0]):
                yield found.span()


def addresses(text: str) -> Iterator[Span]:
    """Yield IP addresses that are somebody's: not private, not documentation, no name server, no version number."""
    for pattern in (_V4, _V6):
        for found in pattern.finditer(text):
            if (
                found[0] not in _KNOWN_SERVERS
                and _somebodys(found[0])
                and not _VERSION.search(text[: found.start()][-12:])
            ):
                yield found.span()


def _somebodys(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and sum(map(str.isalnum, text)) >= 7
