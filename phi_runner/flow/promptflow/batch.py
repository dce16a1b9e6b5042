"""A batch run of the flow over rows of data, an evaluation flow over its answers, and what both said of each row."""

import json
from pathlib import Path
from typing import Any

from phi_runner.errors import FlowFailed
from phi_runner.flow.connection import Connection
from phi_runner.flow.promptflow import client

_IN_THIS_PROCESS = {"batch_use_async": True}
"""Rows as tasks: Prompt flow's pool of processes took 23 s for 3 rows, this 7 s for 20; each of those has a key."""


def _lines(run: Any) -> dict[int, dict[str, Any]]:
    """Return a run's outputs by the number of their row; rows that failed have none."""
    file = Path(run._output_path) / "flow_outputs" / "output.jsonl"
    values = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line)
    return {int(value.pop("line_number")): value for value in values}


def _first_failure(run: Any) -> str:
    """Return what the first row that failed said, or nothing."""
    file = Path(run._output_path) / "error.json"
    if not file.is_file():
        return ""
    return client.words(str(json.loads(file.read_text(encoding="utf-8"))["message"]))


def run(folder: Path, *, connection: Connection, rows: Path, run_name: str) -> dict[str, Any]:
    """Ask the flow in `folder` every row, then evaluate; raises FlowFailed when no row was answered."""
    from promptflow.client import PFClient
    from promptflow.exceptions import PromptflowException

    asked = {name: f"${{data.{name}}}" for name in ("input_data", "chat_history")}
    compared = {"answer": "${run.outputs.answer}", "expected": "${data.expected}"}
    try:
        with client.connected(connection):
            runs = PFClient()
            base = runs.run(
                flow=folder, data=rows, column_mapping=asked, name=run_name,
                environment_variables={"WHOLE_ANSWERS": "1"}, **_IN_THIS_PROCESS,
            )  # fmt: skip
            answers = _lines(base)
            if not answers:
                raise FlowFailed(f"no row of the batch run was answered: {_first_failure(base)}")
            judged = runs.run(
                flow=folder / "evaluation", data=rows, run=base, column_mapping=compared,
                name=f"{run_name}-evaluation", **_IN_THIS_PROCESS,
            )  # fmt: skip
            metrics = runs.get_metrics(judged)
            if not metrics:
                raise FlowFailed(f"the evaluation flow gave no metrics: {_first_failure(judged)}")
            return {"rows": answers, "scores": _lines(judged), "metrics": metrics, "failure": _first_failure(base)}
    except PromptflowException as err:
        raise FlowFailed(client.words(str(err))) from err
