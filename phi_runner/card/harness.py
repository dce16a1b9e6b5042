"""Tasks of the LM Evaluation Harness, measured on a model that is open already."""

import importlib.util
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config import typo
from phi_runner.config.schema import EvaluateConfig
from phi_runner.errors import EvaluateFailed
from phi_runner.model.device import Device

INSTALL = "type pip install 'phi-runner[lm_eval]', or evaluate.tasks=[]"
_RESAMPLES = 1000
"""For the harness's own standard errors of what is no mean; it takes 100,000 by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one task."""

    task: str
    metric: str
    value: float
    stderr: float | None
    higher_is_better: bool
    rows: int
    samples: list[float]
    """The metric row by row; empty where it is not the mean of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Tasks that are known and whose rows are here."""

    names: list[str]
    manager: Any
    rows: int


def prepare(config: EvaluateConfig) -> Tasks | None:
    """Find the tasks and load their rows, before any model is opened; None where none is asked for.

    Raises EvaluateFailed for a task that is unknown or whose rows cannot be had.
    """
    if not config.tasks:
        return None
    if importlib.util.find_spec("lm_eval") is None:
        raise EvaluateFailed(f"evaluate.tasks needs lm_eval, not installed: {INSTALL}")
    manager = _manager(config)
    for name in config.tasks:
        with _loading(name):
            manager.load([name])
    return Tasks(names=list(config.tasks), manager=manager, rows=config.task_rows)


def _manager(config: EvaluateConfig) -> Any:
    """Return the index of tasks; the harness's own 14,000 take half a minute to read and are left out if they can."""
    from lm_eval.tasks import TaskManager

    folder = str(Path(config.tasks_folder).expanduser()) if config.tasks_folder else None
    with _quiet():
        if folder:
            own = TaskManager(include_path=folder, include_defaults=False)
            if set(config.tasks) <= set(own.all_tasks):
                return own
        manager = TaskManager(include_path=folder)
    known = set(manager.all_tasks)
    for name in config.tasks:
        if name not in known:
            near = [f"evaluate.tasks=[{other}]" for other in typo.nearest(name, sorted(known))]
            raise EvaluateFailed(f"evaluate.tasks: there is no task {name!r}{typo.did_you_mean(near)}")
    return manager


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """Word what goes wrong while a task's rows are fetched: they mostly lie on the hub."""
    try:
        with _quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as err:
        told = " ".join((str(err) or type(err).__name__).split())[:200]
        raise EvaluateFailed(
            f"evaluate.tasks: the task {name} cannot be loaded: {told}; without network, type "
            "evaluate.tasks_folder=FOLDER with a task whose dataset_path is json and whose rows are a local file"
        ) from err


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's bars and prints off the terminal."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield


def measure(tasks: Tasks, model: Any, tokenizer: Any, *, batch_size: int, device: Device) -> list[Score]:
    """Return every metric of the tasks; raises EvaluateFailed where a task cannot be answered."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with _loading(", ".join(tasks.names)):
        opened = HFLM(
            pretrained=model.to(device.name).eval(), tokenizer=tokenizer, batch_size=batch_size, truncation=True,
            mixed_precision_dtype="bfloat16" if device.bf16 else None,
        )  # fmt: skip
        found = simple_evaluate(
            model=opened, tasks=tasks.names, task_manager=tasks.manager, limit=tasks.rows or None,
            bootstrap_iters=_RESAMPLES, log_samples=True,
        )  # fmt: skip
    if found is None:  # as on the other processes of several, and there is only this one
        raise EvaluateFailed("evaluate.tasks: the harness gave no result")
    return list(_scores(found))


def _scores(found: Mapping[str, Any]) -> Iterator[Score]:
    for task, values in found["results"].items():
        samples = found.get("samples", {}).get(task, [])
        for key, value in values.items():
            metric, _comma, kind = key.partition(",")
            if not kind or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kind}")
            each = _each(samples, metric, kind=kind, mean=float(value))
            yield Score(
                task=task, metric=metric if kind == "none" else f"{metric} ({kind})", value=float(value),
                stderr=float(error) if isinstance(error, int | float) else None,
                higher_is_better=bool(found.get("higher_is_better", {}).get(task, {}).get(metric, True)),
                rows=len(each) or int(found.get("n-samples", {}).get(task, {}).get("effective", 0)), samples=each,
            )  # fmt: skip


def _each(samples: list[dict[str, Any]], metric: str, *, kind: str, mean: float) -> list[float]:
    """Return a metric by row where the task's value is the mean of it."""
    mine = sorted((row for row in samples if row.get("filter", "none") == kind), key=lambda row: row["doc_id"])
    values = [row[metric] for row in mine if isinstance(row.get(metric), int | float)]
    if not values or len(values) < len(mine) or abs(sum(values) / len(values) - mean) > 1e-6 * max(1.0, abs(mean)):
        return []
    return [float(value) for value in values]
