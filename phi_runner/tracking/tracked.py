"""One MLflow run while it is written: metrics, parameters, files, and how it ended."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi_runner.errors import Pruned

_log = logging.getLogger(__name__)


class TrackedRun:
    """One MLflow run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Record values of one step."""
        import time

        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        now_ms = int(time.time() * 1000)
        try:
            self._client.log_batch(self.run_id, metrics=[Metric(n, v, now_ms, step) for n, v in values.items()])
        except MlflowException as err:  # a tracker that hiccups must not cost hours of training
            _log.warning("metrics of step %d are lost: %s", step, err)

    def parameters(self, values: Mapping[str, str]) -> None:
        """Record what the run was asked; texts longer than MLflow takes are cut."""
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(name, value[:500]) for name, value in values.items()])

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Record the log lines of a training that ran elsewhere; each names its step."""
        for line in history:
            values = {name: value for name, value in line.items() if name != "step"}
            self.metrics(values, step=int(line.get("step", 0)))

    def artifact(self, file: Path) -> None:
        """Attach a file."""
        self._client.log_artifact(self.run_id, str(file))

    def finish(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self.run_id, "FINISHED")

    def fail(self, err: BaseException) -> None:
        """Mark the run as failed, or, where a sweep has given it up, as killed."""
        pruned = isinstance(err, Pruned)
        if pruned:
            self.tags({"phi_runner.pruned": str(err)[:1000]})
        self._client.set_terminated(self.run_id, "KILLED" if pruned else "FAILED")

    def tags(self, values: Mapping[str, str]) -> None:
        """Put tags on the run; one that is there already gets the new value."""
        for name, value in values.items():
            self._client.set_tag(self.run_id, name, value)


class Untracked(TrackedRun):
    """Records nothing: what a process has that shares a training with the one that records."""

    def __init__(self) -> None:
        super().__init__(None, "")

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Forget values of one step."""

    def parameters(self, values: Mapping[str, str]) -> None:
        """Forget what the run was asked."""

    def artifact(self, file: Path) -> None:
        """Attach nothing."""

    def finish(self) -> None:
        """Mark nothing."""

    def fail(self, err: BaseException) -> None:
        """Mark nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Put tags on nothing."""
