"""What a sweep minimises, told by a trial to the service: over MLflow's own REST interface, which Azure speaks.

The library for it pins an older MLflow than this package uses, and one number needs no library.
"""

import json
import math
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from phi_runner.artifacts import Artifact, TrainedModel
from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents

METRIC = "loss_after"
HISTORY_FILE = "history.json"
_SCHEME = "azureml://"
_TIMEOUT_S = 30.0


def of(artifact: Artifact) -> float:
    """Return a trial's held-out loss after training; raises TrainFailed when it has none."""
    if isinstance(artifact, TrainedModel):
        loss = last_loss(artifact.folder / HISTORY_FILE)
        if loss is not None:
            return loss
    raise TrainFailed("the trial has no held-out loss to be compared by")


def last_loss(history: Path) -> float | None:
    """Return the last held-out loss of a training, None where it measured none that is a number."""
    lines = json.loads(history.read_text(encoding="utf-8"))
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line]
    return float(losses[-1]) if losses and math.isfinite(losses[-1]) else None


def tell(loss: float, *, events: StageEvents) -> None:
    """Write the metric to the log and, on a node of Azure, to the job's run."""
    sys.stdout.write(f"##metric {METRIC}={loss:.6f}\n")
    sys.stdout.flush()
    tracking, token = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    if not tracking.startswith(_SCHEME) or not token:
        return
    host = tracking.removeprefix(_SCHEME).partition("?")[0].rstrip("/")
    run = os.environ.get("MLFLOW_RUN_ID") or os.environ.get("AZUREML_RUN_ID", "")
    body = {"run_id": run, "key": METRIC, "value": loss, "timestamp": int(time.time() * 1000), "step": 0}
    request = urllib.request.Request(  # the host is the one that the service itself has named
        f"https://{host}/api/2.0/mlflow/runs/log-metric", data=json.dumps(body).encode(), method="POST",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            pass
    except (urllib.error.URLError, TimeoutError) as err:
        events.warn(f"the sweep was not told this trial's loss ({err})")
