"""A server that takes gunicorn's command line as the azureml engine writes it, and answers `/score` without a model."""

import argparse
import asyncio
import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

told = {name: value for name, value in os.environ.items() if name.startswith(("AML", "AZUREML", "PHI", "GUNICORN"))}
stats = {"begun": 0, "ended": 0}


async def score(request: Request) -> Response:
    """Say the last message again, as many words as there may be; `slow` takes its time, `refuse` is refused."""
    body = await request.json()
    given = body["input_data"]
    said = given["input_string"][-1]["content"]
    stats["begun"] += 1
    if said.startswith("refuse"):
        error = {"message": "all slots were busy", "type": "rate_limit_error", "param": None, "code": None}
        return JSONResponse({"error": error}, 429)
    if said.startswith("slow"):
        await asyncio.sleep(0.6)
    stats["ended"] += 1
    words = said.split()[: given["parameters"]["max_new_tokens"]]
    return JSONResponse({"output": " ".join(words)})


parser = argparse.ArgumentParser()
parser.add_argument("--bind")
options, _others = parser.parse_known_args()
routes = [
    Route("/", lambda _request: PlainTextResponse("Healthy")),
    Route("/score", score, methods=["POST"]),
    Route("/stats", lambda _request: JSONResponse({**stats, "told": told})),
]
uvicorn.run(Starlette(routes=routes), uds=options.bind.removeprefix("unix:"), log_level="warning")
