"""What the tests of deployments ask for: endpoints of the tiny model or of a stand-in, and clients that never stop."""

import asyncio
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from phi_runner import processes
from phi_runner.config.schema import LocalDeploy, StageName
from phi_runner.deploy import keys
from phi_runner.deploy.local import Wanted
from phi_runner.events import Event, Events, StageEvents
from phi_runner.processes import Running
from phi_runner.serve.gateway import steering
from phi_runner.template import template_hash

STAND_IN = "tests.deploy.standin"
QUICK = {"step_s": 0.05, "bake_s": 0.1, "start_timeout_s": 90.0}


class Heard:
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        stream = Events()
        stream.listen(self._take)
        self.events = StageEvents(stream, StageName.deploy)

    def _take(self, event: Event) -> None:
        self.lines.append(f"{event.message} {event.values}")

    @property
    def text(self) -> str:
        """Return all that was said."""
        return "\n".join(self.lines)


def wanted(
    model: Path, outputs: Path, *, label: str = "tiny/1", trained_with: str = "", answers: Path | None = None,
    **config: object,
) -> Wanted:  # fmt: skip
    """Return a wish for an endpoint of a model folder; `trained_with` is another template hash than its own."""
    return Wanted(
        config=LocalDeploy(**{**QUICK, **config}),  # type: ignore[arg-type]
        model_folder=model, label=label, template_hash=trained_with or template_hash(model), device="cpu",
        outputs=outputs, answers=answers,
    )  # fmt: skip


def stand_in(outputs: Path, label: str, *, answers: Path | None = None, **config: object) -> Wanted:
    """Return a wish for an endpoint of a process without a model, which says and does what its label says."""
    outputs.mkdir(parents=True, exist_ok=True)
    return Wanted(
        config=LocalDeploy(**{**QUICK, **config}),  # type: ignore[arg-type]
        model_folder=outputs, label=label, template_hash="0" * 64, device="cpu", outputs=outputs, answers=answers,
        module=STAND_IN,
    )  # fmt: skip


def held_out(file: Path, answer: str, *, count: int = 4) -> Path:
    """Write what an evaluated model has answered to held-out prompts."""
    rows = [
        {"messages": [{"role": "user", "content": f"held out {n}"}], "after": answer, "max_new_tokens": 8}
        for n in range(count)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def key_of(outputs: Path, *, name: str = "phi-endpoint") -> str:
    """Return an endpoint's key."""
    return keys.read(keys.file_of(name, outputs=outputs))


def engine(running: Running, name: str) -> psutil.Process:
    """Return the process of a deployment as the gateway reports it now."""
    report = steering.read_report(Path(running.folder))
    assert report is not None
    there = report.of(name)
    assert there is not None
    return psutil.Process(there.pid)


@dataclass
class Asking:
    """Clients that ask an address one question after the other, each through a new or a kept connection, and count."""

    url: str
    key: str
    clients: int = 4
    answers: dict[str, int] = field(default_factory=dict)
    """How often each text was answered."""
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def answered(self) -> int:
        """Return how many requests were answered well."""
        return sum(self.answers.values())

    def __enter__(self) -> "Asking":
        self._enough = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        self._thread.join()

    async def _all(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        body = {"input_data": ["Where?"], "params": {"max_new_tokens": 2}}
        headers = {"Connection": "close"} if number % 2 else {}
        while not self._enough.is_set():
            begun = time.monotonic()
            try:
                async with session.post(f"{self.url}/score", json=body, headers=headers) as response:
                    text = await response.text()
                    if response.status == 200:
                        self.answers[text] = self.answers.get(text, 0) + 1
                    else:
                        self.failed.append(f"{response.status} {text}")
            except (aiohttp.ClientError, TimeoutError) as err:
                self.failed.append(repr(err))
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            await asyncio.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def stop_all(outputs: Path) -> None:
    """End every endpoint of a test."""
    for running in processes.listed(outputs=outputs):
        processes.stop_recorded(running, outputs=outputs)
