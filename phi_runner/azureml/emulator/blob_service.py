"""The built-in blob server: the part of Azure's blob REST API that the storage client and azure-ai-ml use.

It is the default since it needs no Node, starts in milliseconds and keeps its state over a restart or a `kill -9`;
Azurite (`azurite.py`) is the second opinion with which the tests compare its answers. Containers are made, listed and
removed; block blobs are put whole or in blocks, read whole or in ranges, listed, described, copied never. All storage
accounts of the emulated subscription share one set of containers and one key.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from phi_runner.azureml.emulator import blob_access, blob_answers
from phi_runner.azureml.emulator.blob_access import Access
from phi_runner.azureml.emulator.blob_answers import blob_headers, container_headers, failure
from phi_runner.azureml.emulator.blob_store import Blob, BlobStore, md5_of
from phi_runner.azureml.emulator.cloud import Cloud

_PIECE = 1 << 20
_CONTAINER_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_SYSTEM_HEADERS = {
    "x-ms-blob-content-type": "Content-Type",
    "x-ms-blob-content-encoding": "Content-Encoding",
    "x-ms-blob-content-language": "Content-Language",
    "x-ms-blob-content-disposition": "Content-Disposition",
    "x-ms-blob-cache-control": "Cache-Control",
    "x-ms-blob-content-md5": "Content-MD5",
}
_RIGHTS = {
    ("PUT", ""): "cw", ("PUT", "block"): "cw", ("PUT", "blocklist"): "cw", ("PUT", "metadata"): "w",
    ("PUT", "properties"): "w", ("GET", ""): "r", ("HEAD", ""): "r", ("GET", "metadata"): "r",
    ("HEAD", "metadata"): "r", ("GET", "blocklist"): "r", ("DELETE", ""): "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One call on a blob, with its uploaded body in a file."""

    container: str
    name: str
    comp: str
    query: dict[str, str]
    headers: dict[str, str]
    upload: Path

    @property
    def metadata(self) -> dict[str, str]:
        start = "x-ms-meta-"
        return {name[len(start) :]: value for name, value in self.headers.items() if name.startswith(start)}


class BlobService:
    """Answers the calls to `*.blob.core.windows.net`."""

    def __init__(self, cloud: Cloud, *, folder: Path, key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._cloud, self._key, self._store = cloud, key, BlobStore(folder)

    async def answer(self, request: Request, *, account: str) -> Response:
        """Answer one call; its body is written to a file first, however long it is."""
        upload = self._store.new_file()
        try:
            await _receive(request, upload)
            response = await asyncio.to_thread(self._answer, request, account, upload)
        except OSError as err:  # a client would ask again and again after a 5xx: a full disk does not pass by itself
            response = failure(409, "AccountIsFull", f"The emulated storage cannot be written: {err.strerror}.")
        finally:
            upload.unlink(missing_ok=True)
        response.headers["x-ms-version"] = request.headers.get("x-ms-version", "2021-12-02")
        response.headers["x-ms-request-id"] = str(uuid.uuid4())
        if client_id := request.headers.get("x-ms-client-request-id"):
            response.headers["x-ms-client-request-id"] = client_id
        return response

    def _answer(self, request: Request, account: str, upload: Path) -> Response:
        container, _, name = request.scope["path"].lstrip("/").partition("/")
        query = dict(request.query_params)
        comp = query.get("comp", "")
        kind = query.get("restype", "")
        on_blob = bool(name)
        rights = _RIGHTS.get((request.method, comp), "w") if on_blob else "l" if comp == "list" else "rcwdl"
        access = Access(
            method=request.method, account=account, raw_path=request.scope["raw_path"].decode("latin-1"), query=query,
            headers=dict(request.headers), container=container, blob=name, permissions=rights,
        )  # fmt: skip
        if refused := blob_access.refusal(self._cloud, access, key=self._key):
            return failure(refused.status, refused.code, refused.message)
        asked = _Asked(
            container=container, name=name, comp=comp, query=query, headers=dict(request.headers), upload=upload
        )
        if on_blob:
            return self._blob(request.method, asked)
        if container and kind == "container":
            return self._container(request.method, asked)
        if not container and comp == "list" and request.method == "GET":
            return blob_answers.container_list(self._store.containers(), account=account, query=query)
        return _not_emulated(request.method, comp)

    def _container(self, method: str, asked: _Asked) -> Response:
        found = self._store.container(asked.container)
        if method == "PUT" and not asked.comp:
            if not _CONTAINER_NAME.fullmatch(asked.container):
                return failure(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
            if not self._store.make_container(asked.container, metadata=asked.metadata):
                return failure(409, "ContainerAlreadyExists", "The specified container already exists.")
            made = self._store.container(asked.container)
            return Response(status_code=201, headers=container_headers(made) if made else {})
        if found is None:
            return _no_container()
        match method, asked.comp:
            case "GET", "list":
                return blob_answers.blob_list(self._store, asked.container, query=asked.query)
            case "GET" | "HEAD", "" | "metadata":
                return Response(status_code=200, headers=container_headers(found))
            case "DELETE", "":
                self._store.remove_container(asked.container)
                return Response(status_code=202)
            case _:
                return _not_emulated(method, asked.comp)

    def _blob(self, method: str, asked: _Asked) -> Response:
        if self._store.container(asked.container) is None:
            return _no_container()
        found = self._store.blob(asked.container, asked.name)
        if refused := _condition(asked, found, writes=method in ("PUT", "DELETE")):
            return refused
        if method == "PUT" and asked.comp in ("", "block", "blocklist"):
            return self._write(asked)
        if method == "GET" and asked.comp == "blocklist":
            return blob_answers.block_list(self._store.blocks(asked.container, asked.name))
        if found is None:
            return failure(404, "BlobNotFound", "The specified blob does not exist.")
        return self._use(method, asked, found)

    def _use(self, method: str, asked: _Asked, found: Blob) -> Response:
        match method, asked.comp:
            case "GET" | "HEAD", "":
                return _content(method, asked, found)
            case "GET" | "HEAD", "metadata":
                return Response(status_code=200, headers=blob_headers(found, with_content=False))
            case "PUT", "metadata":
                return _changed(self._store.change(found, metadata=asked.metadata))
            case "PUT", "properties":
                return _changed(self._store.change(found, headers=_content_headers(asked)))
            case "DELETE", "":
                self._store.remove(found)
                return Response(status_code=202)
            case _:
                return _not_emulated(method, asked.comp)

    def _write(self, asked: _Asked) -> Response:
        if "x-ms-copy-source" in asked.headers:
            return _not_emulated("PUT", "copy")
        wanted = asked.headers.get("content-md5")
        if wanted and wanted != md5_of(asked.upload):
            return failure(400, "Md5Mismatch", "The MD5 value specified in the request did not match the content's.")
        file, name = asked.upload, asked.name
        match asked.comp:
            case "block":
                kept = file.rename(self._store.new_file())
                self._store.put_block(asked.container, name, block=asked.query.get("blockid", ""), file=kept)
                return Response(status_code=201, headers={"x-ms-request-server-encrypted": "true"})
            case "blocklist":
                joined = self._store.join(asked.container, name, blocks=_listed_blocks(file))
                if joined is None:
                    return failure(400, "InvalidBlockList", "The specified block list is invalid.")
                headers, file = _content_headers(asked), joined
            case _:
                if asked.headers.get("x-ms-blob-type") != "BlockBlob":
                    return _not_emulated("PUT", asked.headers.get("x-ms-blob-type", "without x-ms-blob-type"))
                headers, file = _content_headers(asked), file.rename(self._store.new_file())
                headers.setdefault("Content-MD5", md5_of(file))
        blob = self._store.put(asked.container, name, file=file, headers=headers, metadata=asked.metadata)
        return _changed(blob, status=201)


async def _receive(request: Request, file: Path) -> None:
    with file.open("wb") as stream:
        async for piece in request.stream():
            stream.write(piece)


def _listed_blocks(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    if "<!" in text:
        return [""]  # a document type: nothing that a client sends
    try:
        return [item.text or "" for item in ElementTree.fromstring(text)]  # noqa: S314
    except ElementTree.ParseError:
        return [""]


def _content_headers(asked: _Asked) -> dict[str, str]:
    found = {_SYSTEM_HEADERS[name]: value for name, value in asked.headers.items() if name in _SYSTEM_HEADERS}
    return {"Content-Type": asked.headers.get("content-type") or "application/octet-stream"} | found


def _condition(asked: _Asked, found: Blob | None, *, writes: bool) -> Response | None:
    """Return why a conditional call is not done."""
    etags = {found.etag, "*"} if found else set()
    if (wanted := asked.headers.get("if-match")) and not etags & _etags(wanted):
        return failure(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
    if (unwanted := asked.headers.get("if-none-match")) and etags & _etags(unwanted):
        if not writes:
            return Response(status_code=304, headers={"x-ms-error-code": "ConditionNotMet"})
        if unwanted.strip() == "*":
            return failure(409, "BlobAlreadyExists", "The specified blob already exists.")
        return failure(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
    return None


def _etags(header: str) -> set[str]:
    return {item.strip() for item in header.split(",")}


def _content(method: str, asked: _Asked, blob: Blob) -> Response:
    headers, wanted = blob_headers(blob, with_content=True), asked.headers.get("x-ms-range", asked.headers.get("range"))
    if method == "HEAD":
        return Response(status_code=200, headers=headers | {"Content-Length": str(blob.size)})
    start, end, status = 0, blob.size - 1, 200
    if wanted:
        try:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) if last else end, end), 206
        except ValueError:
            return failure(400, "InvalidHeaderValue", f"{wanted} is no range.")
        if start >= blob.size:
            return failure(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        headers["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
        if "Content-MD5" in headers:  # it is that of the whole blob
            headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
    stream = blob.file.open("rb")  # open before the answer begins: replaced meanwhile, it is still this one
    length = end - start + 1
    return StreamingResponse(
        _pieces(stream, start=start, length=length), status, headers=headers | {"Content-Length": str(length)}
    )


async def _pieces(stream: BinaryIO, *, start: int, length: int) -> AsyncIterator[bytes]:
    read: Callable[[int], bytes] = stream.read
    with stream:
        stream.seek(start)
        while length > 0 and (data := read(min(_PIECE, length))):
            length -= len(data)
            yield data


def _changed(blob: Blob, *, status: int = 200) -> Response:
    headers = blob_headers(blob, with_content=False)
    kept = {name: headers[name] for name in ("ETag", "Last-Modified")}
    if md5 := blob.headers.get("Content-MD5"):
        kept["Content-MD5"] = md5
    return Response(status_code=status, headers=kept | {"x-ms-request-server-encrypted": "true"})


def _no_container() -> Response:
    return failure(404, "ContainerNotFound", "The specified container does not exist.")


def _not_emulated(method: str, what: str) -> Response:
    return failure(501, "NotImplemented", f"{method} {what} is not emulated.")
