"""Real servers for the tests: the application under uvicorn in a thread, in front of any engine."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from phi_runner.model.answering import Engine, Finish, Finished, Message, Sampling
from phi_runner.serve import app, listen
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


@contextmanager
def serving(engine: Engine | None, **changes: object) -> Iterator[httpx.Client]:
    """Serve the engine on a free port of this machine; yield a client that has the key."""
    service = Service(settings=settings(**changes), engine=engine)
    config = uvicorn.Config(
        app.build(service, key=KEY), http="h11", ws="none", loop="asyncio", log_config=None, access_log=False
    )
    server = listen.Server(config, settings=service.settings)
    listener = listen.bind("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=30
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


@dataclass(slots=True)
class SlowEngine:
    """Says one word every `pause_s` until it is stopped; counts the answers in progress."""

    pause_s: float = 0.01
    context: int = 512
    markers: tuple[str, ...] = ("<|end|>",)
    busy: int = 0
    most_busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tokenise(self, messages: Sequence[Message], *, max_new_tokens: int) -> list[int]:
        """Make a token of every message."""
        return list(range(len(messages)))

    def answer(
        self, prompt: Sequence[int], *, sampling: Sampling, on_text: Callable[[str], None], stop: threading.Event
    ) -> Finished:
        """Say words."""
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        said = 0
        while said < sampling.max_new_tokens and not stop.wait(self.pause_s):
            on_text("word ")
            said += 1
        with self._lock:
            self.busy -= 1
        reason = Finish.cancelled if stop.is_set() else Finish.length
        return Finished(reason=reason, prompt_tokens=len(prompt), completion_tokens=said)


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
