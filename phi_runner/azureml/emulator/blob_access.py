"""Who may do what with the blobs: Shared Key, SAS and bearer tokens are checked as the service checks them.

Checked: signatures over the canonical request (Shared Key), over the token's fields (account, container and blob
SAS of version 2020-12-06 and later), their start, expiry, permissions, service, resource types and scope; a bearer
token's signature, expiry and audience. Not checked: IP ranges, stored policies (refused), user delegation (refused),
roles of the caller.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from phi_runner.azureml.emulator.cloud import Cloud
from phi_runner.azureml.emulator.signin import STORAGE_AUDIENCE, token_problem

_FIRST_SAS_VERSION = "2020-12-06"
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One call as the checks see it."""

    method: str
    account: str
    raw_path: str
    """As it was sent, percent-encoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    container: str
    blob: str
    permissions: str
    """Any of these letters suffices, e.g. `cw` to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a call is not done."""

    status: int
    code: str
    message: str


def refusal(cloud: Cloud, access: Access, *, key: str) -> Refusal | None:
    """Return why the call is refused, None when it is allowed."""
    authorization = access.headers.get("authorization", "")
    kind = authorization.partition(" ")[0].lower()
    if kind == "sharedkey":
        return _shared_key(access, authorization, key=key)
    if kind == "bearer":
        problem = token_problem(cloud, authorization, audiences={STORAGE_AUDIENCE, _own_audience(access.account)})
        return Refusal(status=401, code="InvalidAuthenticationInfo", message=problem[1]) if problem else None
    if "sig" in access.query:
        return _sas(access, key=key)
    return Refusal(
        status=401, code="NoAuthenticationInformation",
        message="Server failed to authenticate the request. Please refer to the information in the www-authenticate "
        "header.",
    )  # fmt: skip


def _own_audience(account: str) -> str:
    return f"https://{account}.blob.core.windows.net"


def _failed(detail: str) -> Refusal:
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        f"including the signature. {detail}"
    )
    return Refusal(status=403, code="AuthenticationFailed", message=message)


def _shared_key(access: Access, authorization: str, *, key: str) -> Refusal | None:
    account, _, signature = authorization.partition(" ")[2].partition(":")
    if account != access.account:
        return _failed("The account does not match the host.")
    headers = {name: value for name, value in access.headers.items() if value}
    if headers.get("content-length") == "0":
        del headers["content-length"]
    top = "\n".join([access.method, *(headers.get(name, "") for name in _SIGNED_HEADERS)])
    query = "".join(f"\n{name.lower()}:{value}" for name, value in sorted(access.query.items()))
    own = [name for name in headers if name.startswith("x-ms-")]
    for order in (sorted(own), sorted(own, key=lambda name: name.replace("-", ""))):  # the service's is in between
        canonical = "".join(f"{name}:{headers[name]}\n" for name in order)
        if _signed(f"{top}\n{canonical}/{account}{access.raw_path}{query}", signature, key=key):
            return None
    return _failed("The MAC signature found in the HTTP request is not the same as any computed signature.")


def _sas(access: Access, *, key: str) -> Refusal | None:
    query = access.query
    if query.get("sv", "") < _FIRST_SAS_VERSION or "skoid" in query or "si" in query:
        return _failed("This kind of signature is not emulated.")
    for text in _texts(access):
        if _signed(text, query["sig"], key=key):
            break
    else:
        return _failed("Signature did not match. String to sign used was not the one signed.")
    if problem := _out_of_time(query):
        return _failed(problem)
    if not set(access.permissions) & set(query.get("sp", "")):
        return Refusal(
            status=403, code="AuthorizationPermissionMismatch",
            message="This request is not authorized to perform this operation using this permission.",
        )  # fmt: skip
    return _out_of_scope(access)


def _texts(access: Access) -> list[str]:
    """Return what may have been signed: the fields of an account SAS, or of one for a container or a blob."""
    query = access.query

    def fields(*names: str) -> str:
        return "\n".join(query.get(name, "") for name in names)

    if "ss" in query:
        return [f"{access.account}\n{fields('sp', 'ss', 'srt', 'st', 'se', 'sip', 'spr', 'sv', 'ses')}\n"]
    scope = {"c": access.container, "b": f"{access.container}/{access.blob}"}.get(query.get("sr", ""), "")
    if not scope:
        return []
    tail = fields("si", "sip", "spr", "sv", "sr", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct")
    return [f"{fields('sp', 'st', 'se')}\n/blob/{access.account}/{scope}\n{tail}"]


def _out_of_time(query: Mapping[str, str]) -> str:
    moment = datetime.now(UTC)
    try:
        if datetime.fromisoformat(query["se"]).replace(tzinfo=UTC) <= moment:
            return f"Signature not valid in the specified time frame: expired at {query['se']}."
        if "st" in query and datetime.fromisoformat(query["st"]).replace(tzinfo=UTC) > moment:
            return f"Signature not valid in the specified time frame: starts at {query['st']}."
    except (KeyError, ValueError):
        return "The expiry is missing or no time."
    return ""


def _out_of_scope(access: Access) -> Refusal | None:
    if "ss" not in access.query:
        return None  # the scope is part of what was signed
    kind = "o" if access.blob or access.query.get("comp") == "blobs" else "c" if access.container else "s"
    listing = access.container and access.query.get("comp") == "list"
    if "b" not in access.query["ss"] or not ({kind, "c" if listing else kind} & set(access.query.get("srt", ""))):
        return Refusal(
            status=403, code="AuthorizationResourceTypeMismatch",
            message="This request is not authorized to perform this operation using this resource type.",
        )  # fmt: skip
    return None


def _signed(text: str, signature: str, *, key: str) -> bool:
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    try:
        return hmac.compare_digest(digest, base64.b64decode(signature, validate=True))
    except (binascii.Error, ValueError):
        return False
