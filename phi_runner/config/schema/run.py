"""One run: the stages, a choice for every group, and the seed of all chance."""

from dataclasses import dataclass, field
from enum import StrEnum, auto

from omegaconf import MISSING

from phi_runner.config.schema.cloud import AzureConfig
from phi_runner.config.schema.compute import ComputeConfig
from phi_runner.config.schema.evaluation import EvaluateConfig, RegisterConfig
from phi_runner.config.schema.preflight import PreflightConfig
from phi_runner.config.schema.serving import ChatConfig, DeployConfig, FlowConfig
from phi_runner.config.schema.sources import DataConfig, ModelConfig
from phi_runner.config.schema.sweep import SweepConfig
from phi_runner.config.schema.training import TrackingConfig, TrainConfig


class StageName(StrEnum):
    """The stages, in the order in which data flows through them."""

    infra = auto()
    data = auto()
    train = auto()
    evaluate = auto()
    register = auto()
    deploy = auto()
    flow = auto()
    chat = auto()
    teardown = auto()
    compare = auto()
    reproduce = auto()


@dataclass(kw_only=True, slots=True)
class LimitsConfig:
    """What a run may take; one whose plan exceeds a limit stops before its first stage. Empty: no limit."""

    max_memory_gb: float | None = None
    """Memory of one process and its device, in GB (10^9 bytes)."""
    max_hours: float | None = None
    """Time from the first stage to the last."""
    max_usd: float | None = None
    """What the run itself bills; what keeps billing afterwards counts for one hour."""


@dataclass(kw_only=True, slots=True)
class ReproduceConfig:
    """How an earlier run is repeated by the stage `reproduce`."""

    stages: list[StageName] = field(default_factory=list)
    """Stages to repeat; empty: those of data, train and evaluate that the run had. What serves is repeated if named."""
    keep: bool = False
    """Keep the second run's results although they are the same; those that differ are always kept."""


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """One run: a choice for every group, the stages to perform, and the seed of all chance."""

    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    train: TrainConfig = MISSING
    compute: ComputeConfig = MISSING
    deploy: DeployConfig = MISSING
    flow: FlowConfig = MISSING
    azure: AzureConfig = MISSING
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    preflight: PreflightConfig = field(default_factory=PreflightConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    stages: list[StageName] = MISSING
    """Stages to perform; always in the order of the pipeline."""
    force: list[StageName] = field(default_factory=list)
    """Stages to perform again although their result is stored."""
    seed: int = 0
    """Seed of the split, the initial weights and the shuffling."""
    outputs: str = "outputs"
    """Folder of the store, the runs and the tracking database."""
    plan: str = "false"
    """`true`: say what would happen, what it needs and costs, and do nothing; `json`: the same for machines."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """What the run may take."""
    run: str = ""
    """Folder of an earlier run, for the stage `reproduce`."""
    runs: list[str] = field(default_factory=list)
    """Folders of earlier runs, for the stage `compare`."""
    reproduce: ReproduceConfig = field(default_factory=ReproduceConfig)
    """How the stage `reproduce` repeats a run."""
