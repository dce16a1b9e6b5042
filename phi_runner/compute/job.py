"""What submitit carries to the nodes of a job: it starts this node's processes, and goes on when it is queued again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner import processes

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

_LAUNCHER = "phi_runner.compute.launcher"
_GRACE_S = 80.0
_ASKED_TO_END = {143, -15}
_DECIDING_S = 120.0
_FIRST_PORT, _PORTS = 20_000, 40_000


@dataclass(slots=True, kw_only=True)
class NodeJob:
    """One task on each node of a job; torchrun's agent starts the processes of that node."""

    processes: int
    nodes: int
    restarts: int
    name: str
    words: list[str]
    """What every process is told."""
    log: str
    variables: Mapping[str, str]
    _child: int = field(default=0, repr=False)

    def __call__(self) -> None:
        """Start this node's processes and wait for them; raises RuntimeError when they fail."""
        from submitit import JobEnvironment

        here = JobEnvironment()
        if here.cluster == "local":
            processes.die_with_parent()
        words = ["--processes", str(self.processes), "--restarts", str(self.restarts), "--name", self.name]
        if self.nodes > 1:
            port = _FIRST_PORT + int(here.raw_job_id) % _PORTS
            words += ["--nodes", str(self.nodes), "--meet-at", f"{here.hostnames[0]}:{port}"]
            words += ["--first-node"] if here.node == 0 else []
        log = Path(self.log) if here.node == 0 else Path(self.log).with_suffix(f".{here.node}.log")
        child = processes.start(_LAUNCHER, [*words, *self.words], log=log, detach=False, environment=self.variables)
        self._child = child.pid
        code = child.wait()
        processes.forget(child.pid)
        if code in _ASKED_TO_END:
            time.sleep(_DECIDING_S)  # whoever asked them ends us too, or queues the job again
        if code:
            raise RuntimeError(f"the processes of node {here.node} ended with exit code {code}; their log is {log}")

    def checkpoint(self) -> "DelayedSubmission":
        """Let the processes save what they have and say how to go on; submitit calls it before the time is over."""
        from submitit.helpers import DelayedSubmission

        if self._child:
            processes.stop(self._child, grace_s=_GRACE_S)
        self._child = 0
        return DelayedSubmission(self)
