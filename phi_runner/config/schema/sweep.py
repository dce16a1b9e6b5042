"""What the trials of a multirun may do, what they are compared by, and when one is given up."""

from dataclasses import dataclass, field
from enum import StrEnum, auto

from phi_runner.search.pruning import PrunerName


class ObjectiveName(StrEnum):
    """The figure that trials are compared by, one of the before/after card's."""

    loss_after = auto()
    """Held-out loss."""
    perplexity_after = auto()
    exact_after = auto()
    """Share of held-out prompts answered word for word."""
    f1_after = auto()
    """Tokens shared with the wanted answers."""
    rouge_after = auto()
    preferred_after = auto()
    """Share of held-out pairs whose chosen answer is the likelier one."""
    probe_after = auto()
    """Loss on text outside the task: how little was forgotten."""
    train_loss = auto()
    """Last training loss: all that there is without the stage `evaluate`."""


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """What trials of a multirun may do."""

    may_deploy: bool = False
    """Allow trials to start endpoints."""
    retry_failed: bool = True
    """Try trials again that failed in an earlier call of the same sweep."""
    objective: ObjectiveName = ObjectiveName.loss_after
    """What the trials are ordered by; which side is the better one follows from it."""
    prune: bool = False
    """Give up trials, while they train, whose held-out loss falls behind that of the others."""
    pruner: PrunerName = PrunerName.median
    """Behind what."""
    prune_after_trials: int = 3
    """Trials that must have finished before one is given up."""
    prune_after_percent: int = 25
    """Share of a training during which it is not given up, in percent."""
    trial_folder: str = ""
    """Folder of the trial that this run is: set by the runner, never typed."""
    grid: list[str] = field(default_factory=list)
    """What the trials of one sweep job try, `train.learning_rate=1e-3,2e-3`: set by the runner, never typed."""
