"""What the trials of a multirun may do, what they are compared by, and when one is given up."""

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """What trials of a multirun may do."""

    may_deploy: bool = False
    """Allow trials to start endpoints."""
    grid: list[str] = field(default_factory=list)
    """What the trials of one sweep job try, `train.learning_rate=1e-3,2e-3`: set by the runner, never typed."""
