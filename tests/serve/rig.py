"""Real servers for the tests: the application under uvicorn in a thread, in front of any engine."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import uvicorn

from phi_runner.model.answering import Engine
from phi_runner.serve import app, listen
from phi_runner.serve.connections import Connection
from phi_runner.serve.keys import Keys
from phi_runner.serve.service import Service
from phi_runner.serve.settings import Settings

KEY = "the-key-of-the-tests"
LABEL = "tiny/1"


def settings(**changes: object) -> Settings:
    """Return settings for a test's endpoint."""
    values: dict[str, object] = {
        "name": "tiny-endpoint", "model_folder": "model", "label": LABEL, "template_hash": "0" * 64, "key_file": "key",
        "announce": "port.json",
    }  # fmt: skip
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server in a thread, and a client that has its key."""

    client: httpx.Client
    service: Service
    server: listen.Server
    thread: threading.Thread


@contextmanager
def opened(
    engine: Engine | None, *, keys: Keys | None = None, drain_s: float = 5.0, **changes: object
) -> Iterator[Endpoint]:
    """Serve the engine on a free port of this machine."""
    service = Service(settings=settings(**changes), engine=engine)
    config = uvicorn.Config(
        app.build(service, keys=keys or Keys([KEY])), http=Connection, ws="none", loop="asyncio", log_config=None,
        access_log=False,
    )  # fmt: skip
    server = listen.Server(config, drain=partial(service.drain, within_s=drain_s))
    listener = listen.bind("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url, headers = f"http://127.0.0.1:{listener.getsockname()[1]}", {"Authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
            yield Endpoint(client=client, service=service, server=server, thread=thread)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


@contextmanager
def serving(engine: Engine | None, *, keys: Keys | None = None, **changes: object) -> Iterator[httpx.Client]:
    """The same for tests that need no more than the client."""
    with opened(engine, keys=keys, **changes) as endpoint:
        yield endpoint.client


def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> bool:
    """Wait until the condition holds; say whether it did in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def write_key(folder: Path) -> Path:
    """Write the tests' key into a file."""
    file = folder / "key"
    file.write_text(KEY + "\n", encoding="ascii")
    return file
