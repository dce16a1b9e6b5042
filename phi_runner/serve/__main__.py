"""`python -m phi_runner.serve --settings FILE`: one endpoint process, from its first line of log to its drain."""

import argparse
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from phi_runner import processes
from phi_runner.errors import DeployFailed, PhiRunnerError
from phi_runner.serve import settings as settings_file
from phi_runner.serve.keys import KeyFile
from phi_runner.serve.settings import EXIT_PORT_IN_USE, Settings
from phi_runner.template import template_hash

if TYPE_CHECKING:
    from fastapi import FastAPI

    from phi_runner.model.answering import Engine
    from phi_runner.serve.service import Service

DRAIN_S = 8
"""How long running answers get after SIGTERM; shorter than the grace that `processes.stop` gives."""
_FOR_LIBRARIES = {
    "HF_HUB_OFFLINE": "1",  # the model is a local folder: nothing is to be asked of the hub
    # Threads spin for some tens of microseconds before they sleep. A token is some hundred short products: always
    # asleep between two costs 1.4 times the time at one client (measured, 16.5 -> 12 ms a token on two cores), and
    # always spinning takes the cores from gateway and event loop.
    "GOMP_SPINCOUNT": "10000",
    "TOKENIZERS_PARALLELISM": "false",
}
EXIT_ENGINE_DIED = 70
"""Exit code when the engine cannot go on (sysexits' number for an internal error): who started us starts us again."""
_LAST_WORDS_S = 0.5
"""For the event loop, which sends what the engine has told."""
log = logging.getLogger("phi_runner.serve")


class PortInUse(DeployFailed):
    """Another program listens on the port."""

    exit_code = EXIT_PORT_IN_USE


def main() -> int:
    """Serve until SIGTERM, or until the run that started us is gone; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m phi_runner.serve")
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the fields of Settings")
    file = parser.parse_args().settings
    signal.signal(signal.SIGTERM, _end_well)
    processes.stop_with_parent()
    for name, value in _FOR_LIBRARIES.items():
        os.environ.setdefault(name, value)
    gc.disable()  # the imports of torch and transformers make no garbage worth looking for: 10 % of the start
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        serve(_read(file))
    except PhiRunnerError as err:
        sys.stderr.write(f"error: {err}\n")
        return err.exit_code
    return 0


def _end_well(_number: int, _frame: FrameType | None) -> None:
    """End well: uvicorn raises the signal again once everything is drained."""
    raise SystemExit(0)


def _read(file: Path) -> Settings:
    try:
        return settings_file.read(file)
    except (OSError, ValueError, TypeError) as err:
        raise DeployFailed(f"cannot read the endpoint's settings {file}: {err}") from err


def serve(settings: Settings) -> None:
    """Check what can be checked at once, listen, load the model meanwhile, serve; raises DeployFailed."""
    folder = Path(settings.model_folder)
    found = template_hash(folder)
    if found != settings.template_hash:
        raise DeployFailed(
            f"{folder} has another chat template (sha256 {found[:12]}) than the model was trained with "
            f"({settings.template_hash[:12]}): put the right chat_template.jinja back, or register the model again"
        )
    try:
        keys = KeyFile(Path(settings.key_file))
    except (OSError, ValueError) as err:
        raise DeployFailed(f"cannot read the key file, and without a key everybody could ask: {err}") from err
    try:
        from phi_runner.serve import app, listen
        from phi_runner.serve.service import Service
    except ModuleNotFoundError as err:
        raise DeployFailed(f"{err.name} is not installed: pip install 'phi-runner[serve]'") from err
    try:
        listener = listen.bind(settings.host, settings.port)
    except OSError as err:
        if err.errno != errno.EADDRINUSE:
            raise DeployFailed(f"cannot listen on {settings.host}:{settings.port}: {err.strerror}") from err
        raise PortInUse(f"port {settings.port} on {settings.host} is already in use") from err
    settings_file.announce(Path(settings.announce), port=listener.getsockname()[1])
    service = Service(settings=settings)
    _run(app.build(service, keys=keys), service, listener=listener)


def _run(application: "FastAPI", service: "Service", *, listener: socket.socket) -> None:
    import uvicorn

    from phi_runner.serve import listen
    from phi_runner.serve.connections import Connection

    config = uvicorn.Config(
        application, http=Connection, ws="none", loop="asyncio", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=1,  # after our own drain
    )  # fmt: skip
    drain = partial(service.drain, within_s=DRAIN_S)
    server = listen.Server(config, drain=drain)

    def take(work: "Future[Engine]") -> None:
        if work.exception():
            server.should_exit = True
        else:
            service.engine = work.result()
            log.info("ready: %s", service.settings.label)

    loading = ThreadPoolExecutor(1, thread_name_prefix="load").submit(_load, service.settings)
    loading.add_done_callback(take)
    server.run(sockets=[listener])
    if loading.done() and (problem := loading.exception()):
        log.error("the model cannot be loaded", exc_info=problem)
        reason = " ".join(str(problem).split())[:300]
        raise DeployFailed(f"cannot load the model {service.settings.model_folder}: {reason}") from problem


def _load(settings: Settings) -> "Engine":
    from phi_runner.serve.engines import open_engine

    engine = open_engine(settings, on_death=_die)
    gc.freeze()
    gc.enable()
    return engine


def _die(err: BaseException) -> None:
    """End the process at once: answers in progress have been told, and nothing else could be answered any more."""
    log.critical("the engine failed", exc_info=err)
    logging.shutdown()
    time.sleep(_LAST_WORDS_S)
    os._exit(EXIT_ENGINE_DIED)


if __name__ == "__main__":
    sys.exit(main())
