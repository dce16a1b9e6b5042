"""A chat page in front of stand-in endpoints, in a process of its own as in a run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from phi_runner import processes
from phi_runner.chat.asking import Side
from phi_runner.chat.page import server
from phi_runner.chat.page.settings import Settings
from phi_runner.processes import Running
from tests.flow import standin
from tests.flow.standin import Behaviour, StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A running page, and what stands behind it."""

    running: Running
    endpoints: list[StandIn]
    outputs: Path

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def votes(self) -> Path:
        return self.outputs / "votes.jsonl"

    def calm(self) -> None:
        """Let the endpoints forget what an earlier test has asked of them, and the votes too."""
        for endpoint in self.endpoints:
            fresh = Behaviour(model=endpoint.behaviour.model)
            for name in Behaviour.__slots__:
                setattr(endpoint.behaviour, name, getattr(fresh, name))
        for file in self.outputs.glob("votes*"):
            file.unlink()


def settings(endpoints: list[StandIn], *, outputs: Path, port: int = 0) -> Settings:
    sides = [
        Side(
            url=item.endpoint.url, label=item.behaviour.model, engine="transformers", template_hash="3fa2b1c0deadbeef",
            key_file=item.endpoint.key_file,
        )
        for item in endpoints
    ]  # fmt: skip
    return Settings(
        sides=sides, host="127.0.0.1", port=port, feedback_file=str(outputs / "votes.jsonl"), temperature=0.0,
        max_new_tokens=128, longest_answer=512,
    )  # fmt: skip


@contextmanager
def page(outputs: Path, *, models: tuple[str, ...] = ("phi/1",)) -> Iterator[Rig]:
    """Run a page with one endpoint for each model."""
    with ExitStack() as stack:
        endpoints = []
        for number, model in enumerate(models):
            folder = outputs / f"endpoint-{number}"
            folder.mkdir()
            endpoints.append(stack.enter_context(standin.running(folder)))
            endpoints[-1].behaviour.model = model
        running = server.start(settings(endpoints, outputs=outputs), name="phi", outputs=outputs, keys={})
        stack.callback(processes.stop_recorded, running, outputs=outputs)
        yield Rig(running=running, endpoints=endpoints, outputs=outputs)
