"""What the trials of a sweep are compared by: figures of the before/after card, each with its better side."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from phi_runner.config.schema import DpoTrain, RunConfig, StageName
from phi_runner.config.schema.sweep import ObjectiveName


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One figure that a sweep minimises or maximises."""

    name: ObjectiveName
    """Also its name among the `values` of `run.json`."""
    title: str
    maximise: bool = False

    def of(self, values: Mapping[str, Any]) -> float | None:
        """Return the figure of a run, or nothing where it was not measured."""
        found = values.get(self.name)
        return float(found) if isinstance(found, int | float) and found == found else None


OBJECTIVES = {
    item.name: item
    for item in (
        Objective(name=ObjectiveName.loss_after, title="held-out loss"),
        Objective(name=ObjectiveName.perplexity_after, title="perplexity"),
        Objective(name=ObjectiveName.exact_after, title="exact answers", maximise=True),
        Objective(name=ObjectiveName.f1_after, title="token F1", maximise=True),
        Objective(name=ObjectiveName.rouge_after, title="ROUGE-L", maximise=True),
        Objective(name=ObjectiveName.preferred_after, title="chosen answers preferred", maximise=True),
        Objective(name=ObjectiveName.probe_after, title="loss outside the task"),
        Objective(name=ObjectiveName.train_loss, title="last training loss"),
    )
}


def objective_of(config: RunConfig) -> Objective:
    """Return what the trials of this config are compared by."""
    return OBJECTIVES[config.sweep.objective]


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what stands between a config and the figure that its trials are to be compared by."""
    name = config.sweep.objective
    if config.sweep.trial_folder:
        yield "sweep.trial_folder is set by the runner: leave it out"
    if config.sweep.prune and find_spec("optuna") is None:
        yield "sweep.prune=true needs Optuna: type pip install 'phi-runner[sweep]'"
    if name is ObjectiveName.preferred_after and not isinstance(config.train, DpoTrain):
        yield f"sweep.objective={name} needs pairs of answers: type train=dpo, or another objective"
    if name is ObjectiveName.probe_after and not config.evaluate.probe:
        yield f"sweep.objective={name} needs the probe: type evaluate.probe=true"
    if StageName.train in config.stages and name is not ObjectiveName.loss_after:
        yield from filter(None, [unseen(objective_of(config), stages=config.stages)])


def unseen(objective: Objective, *, stages: Iterable[StageName]) -> str:
    """Say that no chosen stage measures an objective, or nothing."""
    chosen = set(map(StageName, stages))
    if objective.name is ObjectiveName.train_loss or StageName.evaluate in chosen:
        return ""
    named = ",".join(stage for stage in StageName if stage in {*chosen, StageName.evaluate})
    return f"sweep.objective={objective.name} is measured by the stage evaluate: type stages=[{named}]"
