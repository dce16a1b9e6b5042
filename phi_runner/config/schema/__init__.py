"""Every dataclass that a YAML file or an override may fill: one base per group, one subclass per kind.

A field's docstring says its unit and why the default is what it is. `kind` names the subclass and cannot be set.
"""

from phi_runner.config.schema.run import RunConfig, StageName, SweepConfig
from phi_runner.config.schema.serving import (
    ChatConfig,
    ChatUi,
    DeployConfig,
    FlowConfig,
    LocalDeploy,
    NoDeploy,
    NoFlow,
    PromptFlow,
)
from phi_runner.config.schema.sources import (
    DataConfig,
    FileData,
    HubData,
    HubModel,
    LocalModel,
    ModelConfig,
    NanoModel,
    Recommended,
    RowFormat,
    SampleData,
)
from phi_runner.config.schema.training import (
    ComputeConfig,
    CpuCompute,
    EvaluateConfig,
    FullTrain,
    GpuCompute,
    LoraTrain,
    Precision,
    RegisterConfig,
    Scheduler,
    TrackingConfig,
    TrainConfig,
)

__all__ = [
    "ChatConfig",
    "ChatUi",
    "ComputeConfig",
    "CpuCompute",
    "DataConfig",
    "DeployConfig",
    "EvaluateConfig",
    "FileData",
    "FlowConfig",
    "FullTrain",
    "GpuCompute",
    "HubData",
    "HubModel",
    "LocalDeploy",
    "LocalModel",
    "LoraTrain",
    "ModelConfig",
    "NanoModel",
    "NoDeploy",
    "NoFlow",
    "Precision",
    "PromptFlow",
    "Recommended",
    "RegisterConfig",
    "RowFormat",
    "RunConfig",
    "SampleData",
    "Scheduler",
    "StageName",
    "SweepConfig",
    "TrackingConfig",
    "TrainConfig",
]

SCHEMAS: dict[str, dict[str, type]] = {
    "data": {"sample": SampleData, "file": FileData, "hub": HubData},
    "model": {"nano": NanoModel, "hub": HubModel, "local": LocalModel},
    "train": {"full": FullTrain, "lora": LoraTrain},
    "compute": {"cpu": CpuCompute, "gpu": GpuCompute},
    "deploy": {"none": NoDeploy, "local": LocalDeploy},
    "flow": {"none": NoFlow, "promptflow": PromptFlow},
}
"""The frozen list of what a group may be: `conf/<group>/*.yaml` presets name one of these as `<kind>_schema`."""
