"""One run: the stages, a choice for every group, and the seed of all chance."""

from dataclasses import dataclass, field
from enum import StrEnum, auto

from omegaconf import MISSING

from phi_runner.config.schema.cloud import AzureConfig
from phi_runner.config.schema.compute import ComputeConfig
from phi_runner.config.schema.serving import ChatConfig, DeployConfig, FlowConfig
from phi_runner.config.schema.sources import DataConfig, ModelConfig
from phi_runner.config.schema.training import EvaluateConfig, RegisterConfig, TrackingConfig, TrainConfig


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


@dataclass(kw_only=True, slots=True)
class SweepConfig:
    """What trials of a multirun may do."""

    may_deploy: bool = False
    """Allow trials to start endpoints."""
    grid: list[str] = field(default_factory=list)
    """What the trials of one sweep job try, `train.learning_rate=1e-3,2e-3`: set by the runner, never typed."""


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
    sweep: SweepConfig = field(default_factory=SweepConfig)
    stages: list[StageName] = MISSING
    """Stages to perform; always in the order of the pipeline."""
    force: list[StageName] = field(default_factory=list)
    """Stages to perform again although their result is stored."""
    seed: int = 0
    """Seed of the split, the initial weights and the shuffling."""
    outputs: str = "outputs"
    """Folder of the store, the runs and the tracking database."""
