"""Azure's errors in our words: one line that says what failed, where, and what to type next; never a secret."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from phi_runner.azureml.reasons import REASONS
from phi_runner.errors import PhiRunnerError, RemoteFailed

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SECRETS = (
    (re.compile(r"(?i)\b(sig|signature)=[^&\s\"']+"), r"\1=[hidden]"),
    (re.compile(r"(?i)\b(AccountKey|SharedAccessSignature|password|client_secret|primaryKey|secondaryKey)"
                r"(\"?\s*[=:]\s*\"?)[^;\s\"',}]+"), r"\1\2[hidden]"),
    (re.compile(r"(?i)\b(bearer|sharedkey)\s+\S+"), r"\1 [hidden]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[hidden]"),
)  # fmt: skip
_LONGEST = 400
_MOST_CAUSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What an azure exception carries; `text` is everything it says, for matching."""

    kind: str
    """Name of the exception's class."""
    status: int
    code: str
    message: str
    text: str
    request: str


@contextmanager
def in_our_words(doing: str, *, kind: type[PhiRunnerError] = RemoteFailed) -> Iterator[None]:
    """Turn what azure raises in a block into `kind`: one line that begins with what was being done."""
    try:
        yield
    except ImportError as err:
        if not (err.name or "").startswith("azure"):
            raise
        raise kind(f"{doing}: azure-ai-ml is not installed: pip install 'phi_runner[azure]'") from err
    except OSError as err:
        if not _from_requests(err):
            raise
        raise kind(said(err, doing=doing)) from err
    except _azure_errors() as err:
        raise kind(said(err, doing=doing)) from err


def _azure_errors() -> tuple[type[BaseException], ...]:
    try:
        from azure.core.exceptions import AzureError
    except ImportError:
        return ()
    return (AzureError,)


def _from_requests(err: OSError) -> bool:
    return type(err).__module__.startswith(("requests", "urllib3"))


def said(err: BaseException, *, doing: str) -> str:
    """Return the one line for an error: what was done, what happened, what to type next."""
    failure = failure_of(err)
    for reason in REASONS:
        found = reason.matches(status=failure.status, code=failure.code, kind=failure.kind, text=failure.text)
        if found is not None:
            says, names = reason.says, {"message": failure.message, "code": failure.code, **found}
            return _line(f"{doing}: {says.format_map(names)}{_request(failure)}")
    status = f" (status {failure.status})" if failure.status else ""
    code = f" [{failure.code}]" if failure.code and failure.code not in failure.message else ""
    return _line(f"{doing}: {failure.message}{code}{status}{_request(failure)}")


def failure_of(err: BaseException) -> Failure:
    """Take an azure exception apart; texts come without colours and secrets."""
    body = _error_body(err)
    messages = [message for message in _messages(body) if message]
    raw = clean(str(getattr(err, "message", "") or err))
    code, first = str(body.get("code") or ""), clean(messages[0]) if messages else _first_line(raw)
    prefix = re.match(r"\((\w+)\)\s*", first)
    if prefix:
        first = first[prefix.end() :]
        code = code or ("" if prefix[1] == "None" else prefix[1])
    deepest = clean(messages[-1]) if messages else first
    return Failure(
        kind=type(err).__name__,
        status=int(getattr(err, "status_code", 0) or 0),
        code=code,
        message=_first_line(_innermost(deepest) or first)[:_LONGEST],
        text=" ".join([code, raw, *(clean(message) for message in messages), _causes(err)]),
        request=_request_id(err),
    )


def clean(text: str) -> str:
    """Return text without terminal colours and without anything that looks like a key, a token or a signature."""
    text = _COLOUR.sub("", text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _error_body(err: BaseException) -> dict[str, Any]:
    """Return the `error` object of the answer behind an exception, or of its own text, or an empty one."""
    response = getattr(err, "response", None)
    texts = [response.text()] if response is not None and callable(getattr(response, "text", None)) else []
    texts += [str(getattr(err, "message", "")), str(err)]
    for text in texts:
        start = text.find("{")
        try:
            found = json.JSONDecoder().raw_decode(text[start:])[0] if start >= 0 else None
        except ValueError:
            continue
        if isinstance(found, dict):
            inner = found.get("error", found)
            inner = inner.get("error", inner) if isinstance(inner, dict) else {"message": str(inner)}
            return inner if isinstance(inner, dict) else {"message": str(inner)}
    return {}


def _messages(body: dict[str, Any]) -> Iterator[str]:
    """Yield the messages of an error object from the outermost to the innermost."""
    yield str(body.get("message") or "")
    for detail in [*(body.get("details") or []), body.get("innerError") or body.get("innererror")]:
        if isinstance(detail, dict):
            yield from _messages(detail)


def _innermost(text: str) -> str:
    """Return the sentence inside a JSON message such as {"errors":{"":["There is already ..."]}}."""
    try:
        found = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return text
    while isinstance(found, dict | list) and found:
        values = list(found.values()) if isinstance(found, dict) else found
        if isinstance(found, dict):
            values = [found[key] for key in ("message", "title", "errors") if found.get(key)] or values
        found = values[0]
    return str(found) if found else text


def _causes(err: BaseException) -> str:
    """Return what lies behind an error: azure-core keeps the network's own word as its cause."""
    found: list[str] = []
    cause = err.__cause__ or getattr(err, "inner_exception", None)
    while isinstance(cause, BaseException) and len(found) < _MOST_CAUSES:
        found.append(clean(f"{type(cause).__name__}: {cause}"))
        cause = cause.__cause__ or getattr(cause, "inner_exception", None)
    return " ".join(found)


def _request_id(err: BaseException) -> str:
    headers = getattr(getattr(err, "response", None), "headers", None) or {}
    return str(headers.get("x-ms-request-id") or headers.get("x-ms-correlation-request-id") or "")


def _request(failure: Failure) -> str:
    return f" [request {failure.request}]" if failure.request else ""


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no reason was given"


def _line(text: str) -> str:
    return " ".join(clean(text).split())
