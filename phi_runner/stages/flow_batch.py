"""The batch run of stage `flow`: held-out rows through the Prompt flow, their evaluation, and both in MLflow.

It leaves `batch.jsonl`, a line for each row, and `metrics.json` in the stage's result.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Dataset, Endpoint
from phi_runner.config.schema import PromptFlow, RunConfig
from phi_runner.errors import DataProblem
from phi_runner.flow.connection import Connection
from phi_runner.flow.promptflow import process, rows
from phi_runner.stages.stage import RunDir

_ROWS_FILE, _METRICS_FILE = "batch.jsonl", "metrics.json"
_START_S, _ROW_S = 300.0, 300.0
"""Longest time for Prompt flow's own processes, and for a row."""


def run(
    config: RunConfig, settings: PromptFlow, dataset: Dataset, endpoint: Endpoint, rundir: RunDir, *, folder: Path,
    connection: Connection,
) -> None:  # fmt: skip
    """Ask the held-out rows, evaluate the answers and record the metrics; raises FlowFailed or DataProblem."""
    rundir.scratch.mkdir(parents=True, exist_ok=True)
    asked_file = rundir.scratch / "rows.jsonl"
    asked = rows.write(dataset.test_jsonl, take=settings.batch_rows, target=asked_file)
    if not asked:
        raise DataProblem(f"{dataset.test_jsonl} holds no dialogue with an answer: type flow.batch_rows=0")
    if len(asked) < settings.batch_rows:
        rundir.events.warn(f"flow.batch_rows={settings.batch_rows}, and only {len(asked)} held-out rows can be asked")
    values = {
        "folder": str(folder), "rows": str(asked_file.resolve()),
        "run_name": f"{settings.name}-{time.strftime('%Y%m%d-%H%M%S')}-{rundir.key[:8]}",
    }  # fmt: skip
    timeout_s = _START_S + _ROW_S * len(asked)
    reply = process.request(values, connection=connection, outputs=rundir.outputs, timeout_s=timeout_s)
    metrics = {"rows": float(len(asked)), "failed": float(len(asked) - len(reply["rows"])), **reply["metrics"]}
    _write(asked, reply, metrics, folder=rundir.folder)
    _track(config, settings, endpoint, rundir, metrics=metrics)
    _tell(rundir, metrics, run_name=values["run_name"], first_failure=reply["failure"])


def _write(asked: list[dict[str, Any]], reply: Mapping[str, Any], metrics: dict[str, float], *, folder: Path) -> None:
    lines = []
    for number, row in enumerate(asked):
        scores = reply["scores"].get(str(number), {})
        answered = reply["rows"].get(str(number), {"answer": None})
        lines.append(json.dumps({**row, **answered, **scores}, ensure_ascii=False) + "\n")
    (folder / _ROWS_FILE).write_text("".join(lines), encoding="utf-8")
    (folder / _METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _track(
    config: RunConfig, settings: PromptFlow, endpoint: Endpoint, rundir: RunDir, *, metrics: dict[str, float]
) -> None:
    """Record the metrics in a run of their own, below the run that the model was logged to where MLflow knows it."""
    from phi_runner import tracking

    parent = tracking.run_of(config.tracking, outputs=rundir.outputs, model=endpoint.model)
    tags = {"phi_runner.key": rundir.key, "phi_runner.model": endpoint.model, "phi_runner.flow": settings.name}
    tracked = tracking.open_run(
        config.tracking, outputs=rundir.outputs, name=f"flow-{rundir.key[:12]}",
        marker=rundir.scratch / "tracking_run", tags=tags | ({"mlflow.parentRunId": parent} if parent else {}),
    )  # fmt: skip
    tracked.metrics({f"flow/{name}": value for name, value in metrics.items()}, step=0)
    tracked.artifact(rundir.folder / _ROWS_FILE)
    tracked.finish()


def _tell(rundir: RunDir, metrics: dict[str, float], *, run_name: str, first_failure: str) -> None:
    rundir.events.info(
        f"batch run {run_name}: {metrics['rows']:.0f} rows, exact match {metrics['exact_match']:.3f}, "
        f"token F1 {metrics['token_f1']:.3f}", **metrics,
    )  # fmt: skip
    if metrics["failed"]:
        rundir.events.warn(f"{metrics['failed']:.0f} rows of the batch run were not answered: {first_failure}")
