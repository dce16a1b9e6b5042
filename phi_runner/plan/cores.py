"""Cores that the run's machines take of each quota family, as the portal names the families."""

import math

from phi_runner.config import clouds, vm_sizes
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.config.vm_sizes import Rented
from phi_runner.plan.document import Cores, StagePlan, Verdict

_LOW_PRIORITY = "low-priority cores"
_ENDPOINT = "deploy.instance_type"
_CLUSTER = "compute.vm_size"


def needed(config: RunConfig, stages: list[StagePlan]) -> list[Cores]:
    """Return the cores by family; Azure holds back a fifth more for an endpoint. None in a rehearsed cloud."""
    if clouds.rehearses(config):
        return []
    idle = {stage.name for stage in stages if stage.verdict in {Verdict.reuse, Verdict.skip}}
    rented = [item for item in vm_sizes.rented(config) if item.count and not _stands(item, idle)]
    found: dict[str, tuple[int, list[str]]] = {}
    for item in rented:
        quota, cores = _of(item, config)
        before, purposes = found.get(quota, (0, []))
        found[quota] = before + cores, [*purposes, f"{item.what}: {item.count} x {item.size}"]
    return [
        Cores(quota=quota, cores=cores, region=config.azure.region, what=" and ".join(purposes))
        for quota, (cores, purposes) in found.items()
    ]


def _stands(item: Rented, idle: set[StageName]) -> bool:
    """Say whether what the machines are for is there already."""
    if item.key == _ENDPOINT:
        return StageName.deploy in idle
    return StageName.train in idle and (item.key != _CLUSTER or StageName.infra in idle)


def _of(item: Rented, config: RunConfig) -> tuple[str, int]:
    size = vm_sizes.lookup(item.size)
    if size is None:
        return "", 0
    cluster = clouds.cluster_of(config)
    if item.key == _CLUSTER and cluster and cluster.low_priority:
        return _LOW_PRIORITY, size.cores * item.count
    from phi_runner.azureml.quota import RESERVE  # where Azure is asked for the same cores; a local run needs none

    reserve = RESERVE if item.key == _ENDPOINT else 1.0
    return size.quota_name, math.ceil(size.cores * item.count * reserve)
