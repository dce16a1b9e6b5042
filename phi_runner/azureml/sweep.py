"""A multirun as one sweep job: Azure makes the trials, each with overrides of its own, and names the best."""

import json
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from phi_runner.azureml.objective import METRIC
from phi_runner.azureml.wording import in_our_words
from phi_runner.config.schema import AzureCompute, RunConfig

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command
    from azure.ai.ml.entities._builders import Sweep

    from phi_runner.azureml.client import Azure

_API = "2024-10-01-preview"
Grid = dict[str, list[str]]
"""Values by override key: `{"train.learning_rate": ["1e-3", "2e-3"]}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial: its job, what was chosen for it, and how it ended."""

    job: str
    overrides: tuple[str, ...]
    """`key=value` as a person types them."""
    status: str
    loss_after: float | None = None
    """Held-out loss, once it was read."""

    @property
    def completed(self) -> bool:
        """Say whether it ended well."""
        return self.status == "Completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A finished sweep."""

    job: str
    trials: tuple[Trial, ...]
    best: str
    """Job of the trial with the lowest held-out loss; empty when the service named none."""


def _parameter(number: int) -> str:
    """Return the name of a parameter: the service knows no dots."""
    return f"override_{number}"


def arguments(grid: Grid) -> list[str]:
    """Return what a trial's command line takes from the search space."""
    return [f"--override {key}=${{{{inputs.{_parameter(number)}}}}}" for number, key in enumerate(grid)]


def first(grid: Grid) -> dict[str, str]:
    """Return the inputs that the search space replaces, with the first value of each."""
    return {_parameter(number): values[0] for number, values in enumerate(grid.values())}


def job(trial: "Command", *, config: RunConfig, name: str, grid: Grid) -> "Sweep":
    """Return the sweep over a trial's command; as many trials run at a time as the cluster has nodes for."""
    from azure.ai.ml.sweep import Choice

    space = {_parameter(number): Choice(values) for number, values in enumerate(grid.values())}
    swept: Sweep = trial(**space).sweep(
        sampling_algorithm="grid", primary_metric=METRIC, goal="Minimize", compute=trial.compute
    )
    swept.name, swept.display_name = name, f"sweep {name}"
    swept.experiment_name, swept.tags = config.tracking.experiment, dict(trial.tags or {})
    total = prod(len(values) for values in grid.values())
    nodes = config.compute.max_nodes if isinstance(config.compute, AzureCompute) else 1
    at_once = max(1, min(total, nodes // config.azure.nodes))
    swept.set_limits(max_total_trials=total, max_concurrent_trials=at_once)
    return swept


def outcome(azure: "Azure", name: str, *, grid: Grid) -> Swept:
    """Read how the trials of a completed sweep ended."""
    keys = list(grid)
    trials = []
    with in_our_words(f"reading the trials of sweep {name}"):
        swept = azure.arm.get(azure.ids.job(name), api_version=_API) or {"properties": {}}
        for number in range(prod(len(values) for values in grid.values())):
            found = azure.arm.get(azure.ids.job(f"{name}_{number}"), api_version=_API)
            if found is None:
                continue
            properties = found["properties"]
            told = (properties.get("properties") or {}) | (properties.get("tags") or {})
            chosen = json.loads(str(told.get("hyperparameters") or "{}"))
            known = [(key, chosen[_parameter(at)]) for at, key in enumerate(keys) if _parameter(at) in chosen]
            overrides = tuple(f"{key}={value}" for key, value in known)
            trials.append(Trial(job=f"{name}_{number}", overrides=overrides, status=str(properties.get("status", ""))))
    best = (swept["properties"].get("properties") or {}).get("best_child_run_id", "")
    return Swept(job=name, trials=tuple(trials), best=str(best))
