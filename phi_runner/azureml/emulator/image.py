"""`python -m phi_runner.azureml.emulator.image SPEC`: the process in a container, an inference server with a script.

It answers as azureml-inference-server-http does: GET / is its health, POST /score calls the script's `run`.
"""

import asyncio
import importlib.util
import inspect
import json
import logging
import os
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from phi_runner import processes
from phi_runner.azureml.emulator import aml_api, mlflow_script

_FAILED = "x-ms-run-function-failed"
_log = logging.getLogger("azmlinfsrv")


class _Hidden(MetaPathFinder):
    """Hides this installation of phi_runner: an image has only what its environment and the uploaded code bring."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "phi_runner":
            return None
        found = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry != self._root])
        if found is None:
            raise ModuleNotFoundError("No module named 'phi_runner'", name="phi_runner")
        return found


def main(file: Path) -> None:
    """Load the script, call its `init`, serve until SIGTERM or until the emulator is gone."""
    spec = json.loads(file.read_text(encoding="utf-8"))
    if Path(spec["python"]) != Path(sys.executable):
        again = [spec["python"], "-m", "phi_runner.azureml.emulator.image", str(file)]
        os.execve(spec["python"], again, {**os.environ, "PYTHONPATH": spec["package_root"]})  # noqa: S606 - as asked
    processes.stop_with_parent()
    os.environ.clear()
    os.environ.update(spec["environment"])
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s | %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    aml_api.install()
    arguments, run = _script(spec)
    _serve(_application(arguments, run), announce=Path(spec["announce"]))


def _script(spec: dict[str, Any]) -> tuple[Callable[[Request, bytes], dict[str, Any]], Callable[..., Any]]:
    """Load the script; return what makes the arguments of its `run` from a request, and `run`."""
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    for name in [name for name in sys.modules if name.partition(".")[0] == "phi_runner"]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Hidden(spec["package_root"]))
    if not spec["code"]:
        script = mlflow_script.load()
        return lambda request, body: script.arguments(body, content_type=_content_type(request)), script.run
    os.chdir(spec["code"])
    sys.path.insert(0, spec["code"])
    found = importlib.util.spec_from_file_location("entry_module", Path(spec["code"]) / spec["script"])
    if found is None or found.loader is None:
        raise FileNotFoundError(f"No score script found. Expected score script {spec['script']}.")
    module = sys.modules["entry_module"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    for needed in ("init", "run"):
        if not hasattr(module, needed):
            raise AttributeError(f"User script at {module.__file__} does not have a {needed}() function defined.")
    _log.info("Invoking user's init function")
    module.init()
    _log.info("Users's init has completed successfully")  # the server's own words
    return _arguments_of(module.run), module.run


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "")


def _arguments_of(run: Callable[..., Any]) -> Callable[[Request, bytes], dict[str, Any]]:
    names = list(inspect.signature(run).parameters)
    wants_headers = "request_headers" in names
    first = next((name for name in names if name != "request_headers"), None)
    if first is None:
        raise TypeError("run() needs to accept an argument for input data.")

    def arguments(request: Request, body: bytes) -> dict[str, Any]:
        headers = {"request_headers": dict(request.headers)} if wants_headers else {}
        if aml_api.is_raw():
            given: Any = aml_api.AMLRequest(
                method=request.method, path=request.url.path, query=dict(request.query_params),
                headers=request.headers, data=body,
            )  # fmt: skip
        elif request.method == "GET":
            given = json.dumps(dict(request.query_params))
        else:
            try:
                given = body.decode("utf-8")
            except UnicodeDecodeError as err:
                raise mlflow_script.BadInput(f"Input cannot be decoded as UTF-8: {err}") from err
        return {first: given, **headers}

    return arguments


def _application(arguments: Callable[[Request, bytes], dict[str, Any]], run: Callable[..., Any]) -> Starlette:
    workers = ThreadPoolExecutor(int(os.environ.get("WORKER_COUNT", "1")), thread_name_prefix="worker")

    async def score(request: Request) -> Response:
        body = await request.body()
        if request.method == "OPTIONS":
            return Response()
        try:
            given = arguments(request, body)
        except mlflow_script.BadInput as refusal:
            return _refusal(415 if "Content-Type" in str(refusal) else 400, str(refusal))
        started = time.perf_counter()
        call = workers.submit(run, **given)
        await asyncio.wait([asyncio.wrap_future(call)])
        if problem := call.exception():
            _log.error("Encountered Exception: %s", "".join(traceback.format_exception(problem)))
            said = "An unexpected error occurred in scoring script. Check the logs for more info."
            return _refusal(500, said, headers={_FAILED: "True"})
        response = _response(call.result())
        taken_ms = (time.perf_counter() - started) * 1000
        response.headers["x-ms-run-fn-exec-ms"] = f"{taken_ms:.3f}"
        response.headers["x-ms-request-id"] = request.headers.get("x-ms-client-request-id") or str(uuid.uuid4())
        _log.info("%s %s %d %.3fms", request.method, request.url.path, response.status_code, taken_ms)
        return response

    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("Healthy")

    async def swagger(_request: Request) -> Response:
        about = {"title": "ML service", "description": "API specification of the scoring script", "version": "1.0"}
        return JSONResponse({"swagger": "2.0", "info": about, "paths": {"/": {"get": {}}, "/score": {"post": {}}}})

    async def unknown(_request: Request, _problem: Exception) -> Response:
        return _refusal(404, "The requested URL was not found on the server.")

    routes = [
        Route("/", healthy),
        Route("/swagger.json", swagger),
        Route("/score", score, methods=["GET", "POST", "OPTIONS"]),
    ]
    return Starlette(routes=routes, exception_handlers={404: unknown})


def _refusal(status: int, message: str, *, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": message}, status, headers=headers)


def _response(output: Any) -> Response:
    """Return what a script's answer is on the wire: its own response, or JSON, of a string too."""
    if hasattr(output, "status_code") and hasattr(output, "response"):  # AMLResponse, and Flask's
        headers = {str(name).lower(): str(value) for name, value in dict(output.headers).items()}
        headers.pop("content-length", None)
        if output.status_code >= 500:
            headers[_FAILED] = "True"
        pieces = output.response
        if isinstance(pieces, list):
            body = b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
            return Response(body, output.status_code, headers=headers)
        return StreamingResponse(pieces, output.status_code, headers=headers)
    try:
        text = json.dumps(output)
    except TypeError:
        _log.error("Encountered Exception: %s", traceback.format_exc())
        return _refusal(500, "An unexpected internal error occurred. Check the logs for more info.")
    return Response(text, media_type="application/json")


def _serve(application: Starlette, *, announce: Path) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    aside = announce.with_suffix(".tmp")
    aside.write_text(str(listener.getsockname()[1]), encoding="ascii")
    aside.replace(announce)
    config = uvicorn.Config(
        application, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=3,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
