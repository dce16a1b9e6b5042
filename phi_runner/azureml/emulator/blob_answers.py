"""How the blob service words its answers: headers, errors and lists, in XML as the service writes them."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from starlette.responses import Response

from phi_runner.azureml.emulator.blob_store import Blob, BlobStore, Container, http_date

_XML = '<?xml version="1.0" encoding="utf-8"?>'
_MOST = 5000


def failure(status: int, code: str, message: str) -> Response:
    """Return an error; clients read its code from the header too, HEAD has no body."""
    body = f"{_XML}<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    headers = {"x-ms-error-code": code}
    if status == 401:
        headers["WWW-Authenticate"] = (
            'Bearer authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize" '
            'resource_id="https://storage.azure.com"'
        )
    return _xml(body, status=status, headers=headers)


def container_headers(container: Container) -> dict[str, str]:
    """Return the headers that describe a container."""
    return {
        "ETag": container.etag,
        "Last-Modified": http_date(container.modified),
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
    } | {f"x-ms-meta-{name}": value for name, value in container.metadata.items()}


def blob_headers(blob: Blob, *, with_content: bool) -> dict[str, str]:
    """Return the headers that describe a blob; `with_content` adds those of its content."""
    headers = {"ETag": blob.etag, "Last-Modified": http_date(blob.modified)}
    headers |= {f"x-ms-meta-{name}": value for name, value in blob.metadata.items()}
    if not with_content:
        return headers
    return headers | blob.headers | {
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": http_date(blob.created),
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
    }  # fmt: skip


def container_list(containers: Sequence[Container], *, account: str, query: Mapping[str, str]) -> Response:
    """List containers by prefix."""
    prefix = query.get("prefix", "")
    items = "".join(
        f"<Container><Name>{escape(item.name)}</Name><Properties><Last-Modified>{http_date(item.modified)}"
        f"</Last-Modified><Etag>{escape(item.etag)}</Etag><LeaseStatus>unlocked</LeaseStatus>"
        "<LeaseState>available</LeaseState></Properties></Container>"
        for item in containers
        if item.name.startswith(prefix)
    )
    top = f'<EnumerationResults ServiceEndpoint="https://{account}.blob.core.windows.net/">'
    return _xml(f"{_XML}{top}<Prefix>{escape(prefix)}</Prefix><Containers>{items}</Containers><NextMarker />"
                "</EnumerationResults>")  # fmt: skip


def blob_list(store: BlobStore, container: str, *, query: Mapping[str, str]) -> Response:
    """List blobs by prefix, folded at a delimiter, in pages; a marker is the name where the next one begins."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most = min(int(query.get("maxresults") or _MOST), _MOST)
    with_metadata = "metadata" in query.get("include", "").split(",")
    items: list[str] = []
    folded, marker = "", ""
    for blob in store.blobs(container, prefix=prefix, after=query.get("marker", "")):
        if folded and blob.name.startswith(folded):
            continue
        if len(items) == most:
            marker = blob.name
            break
        head, found, _ = blob.name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if found:
            folded = f"{prefix}{head}{delimiter}"
            items.append(f"<BlobPrefix><Name>{escape(folded)}</Name></BlobPrefix>")
        else:
            items.append(_listed(blob, with_metadata=with_metadata))
    return _xml(
        f'{_XML}<EnumerationResults ContainerName="{container}"><Prefix>{escape(prefix)}</Prefix>'
        f"<MaxResults>{most}</MaxResults><Delimiter>{escape(delimiter)}</Delimiter>"
        f"<Blobs>{''.join(items)}</Blobs><NextMarker>{escape(marker)}</NextMarker></EnumerationResults>"
    )


def block_list(blocks: Sequence[tuple[str, int]]) -> Response:
    """List a blob's uncommitted blocks; which blocks a committed blob was made of is not kept."""
    items = "".join(f"<Block><Name>{escape(name)}</Name><Size>{size}</Size></Block>" for name, size in blocks)
    return _xml(f"{_XML}<BlockList><CommittedBlocks /><UncommittedBlocks>{items}</UncommittedBlocks></BlockList>")


def _listed(blob: Blob, *, with_metadata: bool) -> str:
    content = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in blob.headers.items())
    metadata = ""
    if with_metadata:
        pairs = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in blob.metadata.items())
        metadata = f"<Metadata>{pairs}</Metadata>"
    return (
        f"<Blob><Name>{escape(blob.name)}</Name><Properties><Creation-Time>{http_date(blob.created)}</Creation-Time>"
        f"<Last-Modified>{http_date(blob.modified)}</Last-Modified><Etag>{escape(blob.etag.strip(chr(34)))}</Etag>"
        f"<Content-Length>{blob.size}</Content-Length>{content}<BlobType>BlockBlob</BlobType>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted>"
        f"</Properties>{metadata}</Blob>"
    )


def _xml(body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers=headers, media_type="application/xml")
