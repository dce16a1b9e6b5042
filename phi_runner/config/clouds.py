"""Which choices of a run need Azure: one place, asked by the checks, the runner and the stages."""

from phi_runner.config.schema import (
    AzureCompute,
    AzureDeploy,
    CatalogTrain,
    FoundryFlow,
    RehearsalAzure,
    RunConfig,
    StageName,
)

_COMPUTES = {StageName.infra, StageName.train, StageName.evaluate}
_SERVES = {StageName.infra, StageName.register, StageName.deploy, StageName.flow, StageName.chat}
_CHATS = {StageName.infra, StageName.flow, StageName.chat}


def choices(config: RunConfig) -> list[str]:
    """Return what of this run happens in Azure, as it is typed; empty when nothing does."""
    stages = set(config.stages)
    found = []
    if isinstance(config.compute, AzureCompute) and stages & _COMPUTES:
        found.append("compute=azure_gpu" if config.compute.gpu else "compute=azure_cpu")
    if isinstance(config.train, CatalogTrain) and stages & {StageName.infra, StageName.train}:
        found.append("train=azure_catalog")
    if isinstance(config.deploy, AzureDeploy) and stages & _SERVES:
        found.append("deploy=azure")
    if isinstance(config.flow, FoundryFlow) and stages & _CHATS:
        found.append("flow=foundry")
    return found


def cluster_of(config: RunConfig) -> AzureCompute | None:
    """Return the cluster that the selected stages make or compute on, if any."""
    wanted = isinstance(config.compute, AzureCompute) and _COMPUTES & set(config.stages)
    return config.compute if wanted and isinstance(config.compute, AzureCompute) else None


def needs_azure(config: RunConfig) -> bool:
    """Say whether any selected stage talks to Azure; `teardown` asks the ledger instead."""
    return bool(choices(config))


def rehearses(config: RunConfig) -> bool:
    """Say whether Azure is the emulator on this machine."""
    return isinstance(config.azure, RehearsalAzure)


def registers_in_workspace(config: RunConfig) -> bool:
    """Say whether the model is registered in the workspace: what Azure serves, or what was left there."""
    if isinstance(config.deploy, AzureDeploy) or isinstance(config.train, CatalogTrain):
        return True
    return isinstance(config.compute, AzureCompute) and not config.azure.fetch_result


def workspace_of(config: RunConfig) -> str:
    """Name the workspace: part of the key of what lies in it."""
    azure = config.azure
    return f"azure:{azure.subscription}/{azure.resource_group}/{azure.workspace}"
