"""Server-sent events with JSON in them, as OpenAI's streams are."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

_DONE = b"[DONE]"


async def events(response: "httpx.Response") -> AsyncIterator[dict[str, Any]]:
    """Yield what a stream says until it says that it is done; comments and empty lines are passed over."""
    async for line in _lines(response):
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == _DONE:
            return
        yield json.loads(data)


async def _lines(response: "httpx.Response") -> AsyncIterator[bytes]:
    # httpx's own aiter_lines also breaks a line at characters like U+2028, which JSON may hold as they are
    held = b""
    async for piece in response.aiter_bytes():
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line
