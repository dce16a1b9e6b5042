"""Blot out whatever looks like a key before a page is written: errors and typed overrides may hold one."""

import os
import re
from collections.abc import Iterable, Mapping
from html import escape

HIDDEN = "[hidden]"
_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|CONNECTION_STRING", re.IGNORECASE)
_NO_SECRET = re.compile(r"_(FILE|PATH|NAME|DIR|URL)$|^(SSH_AUTH_SOCK|XKEYSYMDB)$", re.IGNORECASE)
_SHORTEST = 8
"""A shorter value may be a word that stands in any sentence."""
_LOOKS = re.compile(
    r"\b(?:sk|pk)-[A-Za-z0-9_-]{16,}"  # OpenAI and those that copy it
    r"|\bhf_[A-Za-z0-9]{20,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"  # a JSON web token
    r"|(?<=AccountKey=)[A-Za-z0-9+/=]{20,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"  # user:password in an address
    r"|(?<=Bearer )[A-Za-z0-9._~+/-]{16,}=*"
)


def of_environment(variables: Mapping[str, str] | None = None) -> set[str]:
    """Return the values of environment variables whose names say that they are secrets."""
    known = os.environ if variables is None else variables
    return {
        value
        for name, value in known.items()
        if _NAME.search(name) and not _NO_SECRET.search(name) and len(value) >= _SHORTEST
    }


def blotted(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return the text without the secrets, as they are and as HTML writes them, nor anything that has a key's form."""
    for secret in sorted({*secrets, *of_environment()}, key=len, reverse=True):
        for form in {secret, escape(secret)}:
            text = text.replace(form, HIDDEN)
    return _LOOKS.sub(HIDDEN, text)
