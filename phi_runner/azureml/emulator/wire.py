"""The wire log: one JSON line per call, with every credential in it replaced before it is written."""

import json
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from phi_runner.azureml.emulator.cloud import Body, Call, now

HIDDEN = "***"
_SECRET_NAMES = {
    "accesskey", "accesstoken", "accountkey", "apikey", "assertion", "client_assertion", "client_info",
    "client_secret", "clientsecret", "connectionstring", "device_code", "id_token", "key", "keyvalue",
    "password", "primarykey", "refresh_token", "saskey", "sastoken", "sasuri", "secondarykey", "secret", "sig",
    "token", "userstoragekey", "access_token",
}  # fmt: skip
_PLAIN_CREDENTIALS = {"credentialtype", "credentialstype"}
_SIGNATURE = re.compile(r"(?<![a-z])(sig=)[^&\s\"']+", re.IGNORECASE)
_TOKEN = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|(?<=Bearer )\S+")
_MOST_CHARS = 20_000
"""Longer texts (logs, file contents) are cut: the log is there to see what was asked."""


class Wire:
    """Appends to a file; safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, call: Call, *, status: int, answer: bytes) -> None:
        """Write a call down; `answer` is the body that went back, status 0 that none did."""
        self._append({
            "at": now(), "host": call.host, "method": call.method, "path": call.path, "query": redacted(call.query),
            "request": redacted(call.body) if call.body else _form(call), "status": status,
            "response": _parsed(answer),
        })  # fmt: skip

    def write_blob(self, *, method: str, host: str, path: str, status: int) -> None:
        """Write a blob call down: nothing of its content, query or headers."""
        self._append({"at": now(), "host": host, "method": method, "path": path, "status": status})

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _append(self, entry: Body) -> None:
        with self._lock:
            if not self._stream.closed:
                self._stream.write(json.dumps(entry) + "\n")
                self._stream.flush()


def redacted(value: Any, *, hide: bool = False) -> Any:
    """Return a copy of a JSON value without its secrets; with `hide` every leaf is one."""
    match value:
        case dict():
            return {name: _field(name, item, hide=hide) for name, item in value.items()}
        case list():
            return [redacted(item, hide=hide) for item in value]
        case str() if not hide:
            return _text(value)
        case _:
            return HIDDEN if hide and value is not None else value


def _field(name: str, value: Any, *, hide: bool) -> Any:
    low = name.lower()
    if low in _PLAIN_CREDENTIALS:
        return value
    return redacted(value, hide=hide or low == "credentials" or (low in _SECRET_NAMES and isinstance(value, str)))


def _text(text: str) -> str:
    shown = _TOKEN.sub(HIDDEN, _SIGNATURE.sub(rf"\1{HIDDEN}", text))
    return shown if len(shown) <= _MOST_CHARS else f"{shown[:_MOST_CHARS]} ... ({len(shown)} characters)"


def _form(call: Call) -> Any:
    """Show a request that is no JSON object: forms field by field, anything else by its size."""
    if not call.raw:
        return None
    if "form" in call.headers.get("content-type", ""):
        return redacted(dict(parse_qsl(call.raw.decode("utf-8", "replace"))))
    return f"{len(call.raw)} bytes"


def _parsed(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return redacted(json.loads(answer))
    except ValueError:
        return f"{len(answer)} bytes"
