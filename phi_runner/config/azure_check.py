"""What stands between a config and Azure, found before anything is asked of it: names, and choices that clash."""

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from phi_runner.config import clouds, serving_check
from phi_runner.config.schema import (
    AzureCloud,
    AzureCompute,
    AzureDeploy,
    CatalogTrain,
    FoundryFlow,
    LocalDeploy,
    RunConfig,
    Serving,
    StageName,
)

_SUBSCRIPTION = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_NAMES = {
    "resource_group": (re.compile(r"[\w().-]{0,89}[\w()-]", re.ASCII), "1 to 90 letters, digits, and -_.()"),
    "workspace": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}"), "3 to 33 letters, digits, - and _"),
    "hub": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}"), "3 to 33 letters, digits, - and _"),
    "project": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}"), "3 to 33 letters, digits, - and _"),
    "identity": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}"), "3 to 128 letters, digits, - and _"),
    "region": (re.compile(r"[a-z][a-z0-9]+"), "Azure's short name, such as eastus2"),
}
_MAYBE_NAMES = {
    "storage_account": (re.compile(r"[a-z0-9]{3,24}"), "3 to 24 lower-case letters and digits"),
    "key_vault": (re.compile(r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]"), "3 to 24 letters, digits and -"),
    "container_registry": (re.compile(r"[A-Za-z0-9]{5,50}"), "5 to 50 letters and digits"),
    "app_insights": (re.compile(r"[\w().-]{0,254}[\w()-]", re.ASCII), "letters, digits, and -_.()"),
}
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_CLUSTER = re.compile(r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]")
_CLOUD_KEYS = {
    "azure_portal", "resource_manager", "active_directory", "aml_resource_id", "storage_endpoint",
    "registry_discovery_endpoint",
}  # fmt: skip


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each thing that Azure, or its rehearsal, would stumble over."""
    chosen = clouds.choices(config)
    if not chosen:
        return
    yield from _installed(config, chosen[0])
    yield from _account(config)
    yield from _resources(config)
    yield from _connection(config)
    yield from _together(config)


def _installed(config: RunConfig, choice: str) -> Iterator[str]:
    wanted: dict[str, tuple[str, ...]] = {"azure": ("azure.ai.ml", "azure.identity")}
    if clouds.rehearses(config):
        wanted["rehearsal"] = ("trustme", "jwt", "uvicorn", "starlette")
    for extra, packages in wanted.items():
        missing = [package for package in packages if not _is_there(package)]
        if missing:
            what = choice if extra == "azure" else "azure=rehearsal"
            yield f"{what} needs {' and '.join(missing)}, not installed: type pip install 'phi-runner[{extra}]'"


def _is_there(package: str) -> bool:
    """Say whether a package can be imported, and import nothing of it: `find_spec("a.b")` would import `a`."""
    if "." not in package:
        return find_spec(package) is not None
    file = Path(*package.split("."), "__init__.py")
    return any((Path(place) / file).is_file() for place in sys.path)


def _account(config: RunConfig) -> Iterator[str]:
    azure = config.azure
    if not azure.subscription:
        yield (
            "azure.subscription is empty: type azure.subscription=ID (az account show --query id prints it), or "
            "azure=rehearsal to try everything without an account"
        )
    elif not _SUBSCRIPTION.fullmatch(azure.subscription):
        yield (
            f"azure.subscription={azure.subscription} is no subscription id: type azure.subscription=ID, which "
            "az account show --query id prints"
        )
    for key, (pattern, said) in _NAMES.items():
        if not pattern.fullmatch(getattr(azure, key)):
            yield f"azure.{key}={getattr(azure, key)!r} is not a legal name: type {said}"
    for key, (pattern, said) in _MAYBE_NAMES.items():
        value = getattr(azure, key)
        if value and not pattern.fullmatch(value):
            yield f"azure.{key}={value!r} is not a legal name: type {said}, or leave it empty"
    given = set(azure.cloud_endpoints)
    if azure.cloud is AzureCloud.custom and given != _CLOUD_KEYS:
        lacking, idle = sorted(_CLOUD_KEYS - given), sorted(given - _CLOUD_KEYS)
        told = [f"lacks {', '.join(lacking)}"] if lacking else []
        told += [f"holds {', '.join(idle)}, which is not known"] if idle else []
        yield f"azure.cloud=custom needs all six azure.cloud_endpoints; it {' and '.join(told)}"
    elif azure.cloud is not AzureCloud.custom and given:
        yield "azure.cloud_endpoints is set: type azure.cloud=custom to use it"


def _resources(config: RunConfig) -> Iterator[str]:
    deploy, compute = config.deploy, config.compute
    if isinstance(deploy, AzureDeploy):
        if deploy.name and not _ENDPOINT.fullmatch(deploy.name):
            yield (
                f"deploy.name={deploy.name!r} is not a legal endpoint name: type deploy.name=NAME of 3 to 32 letters, "
                "digits and dashes that starts with a letter, or leave it empty for a name of its own"
            )
        yield from serving_check.steps(deploy.shift)
    if isinstance(compute, AzureCompute):
        if not _CLUSTER.fullmatch(compute.cluster):
            yield (
                f"compute.cluster={compute.cluster!r} is not a legal cluster name: type compute.cluster=NAME of 3 to "
                "24 letters, digits and dashes that starts with a letter"
            )
        if compute.min_nodes > compute.max_nodes:
            yield f"compute.min_nodes={compute.min_nodes} is more than compute.max_nodes={compute.max_nodes}"
        if config.azure.sweep and StageName.train not in config.stages:
            yield "azure.sweep=true sweeps over training: add train to the stages, or type azure.sweep=false"
        if config.azure.nodes > compute.max_nodes:
            yield (
                f"azure.nodes={config.azure.nodes} is more than compute.max_nodes={compute.max_nodes}: type "
                f"compute.max_nodes={config.azure.nodes}"
            )


def _connection(config: RunConfig) -> Iterator[str]:
    if not isinstance(config.flow, FoundryFlow) or StageName.flow not in config.stages:
        return
    pattern, said = _NAMES["project"]
    for key in ("name", "connection"):
        value = getattr(config.flow, key)
        if not pattern.fullmatch(value):
            yield f"flow.{key}={value!r} is not a legal name in Foundry: type {said}"


def _together(config: RunConfig) -> Iterator[str]:
    stages, deploy = set(config.stages), config.deploy
    if isinstance(config.flow, FoundryFlow) and isinstance(deploy, LocalDeploy) and StageName.flow in stages:
        yield (
            "flow=foundry makes a connection that other machines use, and deploy=local answers on this one alone: "
            "type deploy=azure, or flow=promptflow"
        )
    remote = isinstance(config.compute, AzureCompute)
    ours = isinstance(deploy, AzureDeploy) and deploy.serving is Serving.code and StageName.deploy in stages
    if ours and isinstance(config.train, CatalogTrain):
        yield "deploy.serving=code serves what phi_runner trains: type deploy.serving=mlflow for the catalog's model"
    left = remote and not config.azure.fetch_result
    away = left or isinstance(config.train, CatalogTrain)
    if away and isinstance(deploy, LocalDeploy) and stages.intersection({StageName.register, StageName.deploy}):
        why = "azure.fetch_result=false" if left else "train=azure_catalog"
        yield f"{why} leaves the weights in Azure, and deploy=local needs them here: type deploy=azure"
