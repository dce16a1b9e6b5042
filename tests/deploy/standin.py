"""A deployment's process without a model: starts at once, speaks the contract, and breaks as its label says.

Run as `python -m tests.deploy.standin --settings FILE`. The label `good/1` answers `good`; the words after the version,
as in `good/2 crash-when-asked`, say what goes wrong.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from phi_runner import processes
from phi_runner.serve import settings as settings_file
from phi_runner.serve.settings import Settings

POISON, COUNT = "kill the engine", "count"


class StandIn:
    """Answers with its label's first word; asked to count in a stream, it counts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.key = Path(settings.key_file).read_text().strip()
        self.says, _, rest = settings.label.partition("/")
        self.faults = rest.split()[1:]
        self.hung_up = 0

    def refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization", "") == f"Bearer {self.key}":
            return None
        return web.json_response({"error": {"message": "no", "type": "authentication_error"}}, status=401)

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def models(self, request: web.Request) -> web.Response:
        model = {
            "id": self.settings.label, "template_hash": self.settings.template_hash,
            "fingerprint": self.settings.fingerprint(), "pid": os.getpid(), "hung_up": self.hung_up,
        }  # fmt: skip
        return self.refused(request) or web.json_response({"object": "list", "data": [model]})

    async def swagger(self, request: web.Request) -> web.Response:
        return self.refused(request) or web.json_response({"openapi": "3.1.0"})

    async def metrics(self, request: web.Request) -> web.Response:
        text = "# HELP phi_tokens_total Tokens.\n# TYPE phi_tokens_total counter\nphi_tokens_total 3\n"
        return self.refused(request) or web.Response(text=text)

    async def score(self, request: web.Request) -> web.Response:
        if refused := self.refused(request):
            return refused
        data = (await request.json())["input_data"]
        text = await self.answer(str(data))
        return web.json_response({"output": text} if isinstance(data, dict) else [text])

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if refused := self.refused(request):
            return refused
        body = await request.json()
        asked = body["messages"][-1]["content"]
        if body.get("stream"):
            counts = asked == COUNT
            words = [f"{n} " for n in range(int(body["max_tokens"]))] if counts else [await self.answer(asked)]
            return await self.stream(request, words)
        choice = {"index": 0, "message": {"role": "assistant", "content": await self.answer(asked)}}
        return web.json_response({"choices": [choice]})

    async def answer(self, asked: str) -> str:
        if POISON in asked or "crash-when-asked" in self.faults:
            os.kill(os.getpid(), signal.SIGKILL)
        if "slowly" in asked:
            await asyncio.sleep(1.0)
        if "crash-later" in self.faults:
            asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGKILL)
        return "other" if "other-answers" in self.faults and "held out" in asked else self.says

    async def stream(self, request: web.Request, words: list[str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for word in words:
                delta = {"choices": [{"delta": {"content": word}}]}
                await response.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
                await asyncio.sleep(float(request.headers.get("x-pause-s", "0")))
            await response.write(b"data: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionResetError):
            self.hung_up += 1
            raise
        return response


async def serve(settings: Settings) -> None:
    """Answer until SIGTERM, and finish what was begun."""
    standin, enough = StandIn(settings), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    app = web.Application()
    app.router.add_get("/health/{what}", standin.health)
    app.router.add_get("/v1/models", standin.models)
    app.router.add_get("/metrics", standin.metrics)
    app.router.add_get("/swagger.json", standin.swagger)
    app.router.add_post("/score", standin.score)
    app.router.add_post("/v1/chat/completions", standin.chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=8)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings_file.announce(Path(settings.announce), port=runner.addresses[0][1])
    await enough.wait()
    await runner.cleanup()


def main() -> Any:
    """Start as the real one does."""
    settings = settings_file.read(Path(sys.argv[2]))
    processes.stop_with_parent()
    if "never-starts" in settings.label:
        return "error: cannot load the model: it is broken"
    if "never-ready" in settings.label:
        signal.pause()
    return asyncio.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
