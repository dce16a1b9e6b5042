"""Every dataclass that a YAML file or an override may fill: one base per group, one subclass per kind.

A field's docstring says its unit and why the default is what it is. `kind` names the subclass and cannot be set.
"""

from phi_runner.config.schema.cloud import AccountAzure, AzureCloud, AzureConfig, Credential, RehearsalAzure
from phi_runner.config.schema.run import RunConfig, StageName, SweepConfig
from phi_runner.config.schema.serving import (
    AzureDeploy,
    ChatConfig,
    ChatUi,
    DeployConfig,
    FlowConfig,
    FoundryFlow,
    LocalDeploy,
    NoDeploy,
    NoFlow,
    PromptFlow,
    Serving,
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
    AzureCompute,
    CatalogTrain,
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
    "AccountAzure",
    "AzureCloud",
    "AzureCompute",
    "AzureConfig",
    "AzureDeploy",
    "CatalogTrain",
    "ChatConfig",
    "ChatUi",
    "ComputeConfig",
    "CpuCompute",
    "Credential",
    "DataConfig",
    "DeployConfig",
    "EvaluateConfig",
    "FileData",
    "FlowConfig",
    "FoundryFlow",
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
    "RehearsalAzure",
    "RowFormat",
    "RunConfig",
    "SampleData",
    "Scheduler",
    "Serving",
    "StageName",
    "SweepConfig",
    "TrackingConfig",
    "TrainConfig",
]

SCHEMAS: dict[str, dict[str, type]] = {
    "data": {"sample": SampleData, "file": FileData, "hub": HubData},
    "model": {"nano": NanoModel, "hub": HubModel, "local": LocalModel},
    "train": {"full": FullTrain, "lora": LoraTrain, "azure_catalog": CatalogTrain},
    "compute": {"cpu": CpuCompute, "gpu": GpuCompute, "azure": AzureCompute},
    "deploy": {"none": NoDeploy, "local": LocalDeploy, "azure": AzureDeploy},
    "flow": {"none": NoFlow, "promptflow": PromptFlow, "foundry": FoundryFlow},
    "azure": {"account": AccountAzure, "rehearsal": RehearsalAzure},
}
"""The frozen list of what a group may be: `conf/<group>/*.yaml` presets name one of these as `<kind>_schema`."""
