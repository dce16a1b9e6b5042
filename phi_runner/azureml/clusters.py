"""The compute cluster: made as the config says, its scale adjusted, and never replaced."""

import re
from typing import Any

from phi_runner.azureml import versions
from phi_runner.azureml.services import Maker, broken
from phi_runner.azureml.wording import in_our_words
from phi_runner.config import prices
from phi_runner.config.schema import AzureCompute
from phi_runner.errors import RemoteFailed
from phi_runner.ledger import Made

Body = dict[str, Any]
_DURATION = re.compile(r"P(?:([\d.]+)D)?(?:T(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?)?")


def find(maker: Maker, cluster: AzureCompute) -> Body | None:
    """Return the cluster as it is, once nothing works on it any more."""
    resource = maker.azure.ids.cluster(cluster.cluster)
    with in_our_words(f"cluster {cluster.cluster}"):
        return maker.azure.arm.settled(resource, api_version=versions.MACHINE_LEARNING)


def ensure(maker: Maker, cluster: AzureCompute) -> None:
    """Make the cluster, or bring its scale to what the config says; raises RemoteFailed when its size differs."""
    found = find(maker, cluster)
    resource = maker.azure.ids.cluster(cluster.cluster)
    if found is not None and not broken(found):
        maker.ledger.made(resource)
        _same_machine(cluster, found)
        if _scale(found) == _wanted_scale(cluster):
            return
        maker.events.info(f"sets cluster {cluster.cluster} to {cluster.min_nodes}..{cluster.max_nodes} nodes")
    elif found is not None:
        maker.events.info(f"makes cluster {cluster.cluster} again: it was left half-made")
    else:
        maker.events.info(
            f"makes cluster {cluster.cluster}: {cluster.min_nodes}..{cluster.max_nodes} x {cluster.vm_size}"
        )
    usd = (prices.table().of(cluster.vm_size) or 0.0) * cluster.max_nodes
    with (
        in_our_words(f"cluster {cluster.cluster}"),
        maker.making(Made.cluster, resource, usd_per_hour=usd, new=found is None),
    ):
        _put(maker, cluster)


def _put(maker: Maker, cluster: AzureCompute) -> None:
    from azure.ai.ml.entities import AmlCompute

    wanted = AmlCompute(
        name=cluster.cluster,
        size=cluster.vm_size,
        location=maker.azure.config.region,
        min_instances=cluster.min_nodes,
        max_instances=cluster.max_nodes,
        idle_time_before_scale_down=cluster.idle_s,
        tier="low_priority" if cluster.low_priority else "dedicated",
    )
    maker.azure.ml.compute.begin_create_or_update(wanted).result(timeout=maker.azure.config.wait_s)
    made = find(maker, cluster)
    if made is None or broken(made):
        raise RemoteFailed(
            f"cluster {cluster.cluster} is not up after its making: {_why(made or {})}the same command tries again"
        )


def _why(found: Body) -> str:
    errors = (found.get("properties") or {}).get("provisioningErrors") or []
    messages = [str((item.get("error") or {}).get("message") or "") for item in errors]
    return f"{messages[0]}: " if messages and messages[0] else ""


def _settings(found: Body) -> Body:
    inner: Body = (found.get("properties") or {}).get("properties") or {}
    return inner


def _same_machine(cluster: AzureCompute, found: Body) -> None:
    """Refuse a cluster of another machine: only a new one can have it, and jobs may be running on this one."""
    there = str(_settings(found).get("vmSize") or "")
    if there and there.lower() != cluster.vm_size.lower():
        raise RemoteFailed(
            f"cluster {cluster.cluster} has {there} nodes, not {cluster.vm_size}, and cannot be changed: type "
            f"compute.cluster=ANOTHER for a new one, or compute.vm_size={there} to use it"
        )
    priority = str(_settings(found).get("vmPriority") or "Dedicated").lower()
    if (priority != "dedicated") != cluster.low_priority:
        raise RemoteFailed(
            f"cluster {cluster.cluster} has {'low-priority' if priority != 'dedicated' else 'dedicated'} nodes and "
            f"cannot be changed: type compute.cluster=ANOTHER for a new one, or compute.low_priority="
            f"{str(priority != 'dedicated').lower()} to use it"
        )


def _scale(found: Body) -> tuple[int, int, float]:
    scale = _settings(found).get("scaleSettings") or {}
    idle = str(scale.get("nodeIdleTimeBeforeScaleDown") or "PT120S")
    return int(scale.get("minNodeCount") or 0), int(scale.get("maxNodeCount") or 0), _seconds(idle)


def _wanted_scale(cluster: AzureCompute) -> tuple[int, int, float]:
    return cluster.min_nodes, cluster.max_nodes, float(cluster.idle_s)


def _seconds(duration: str) -> float:
    """Return the seconds of an ISO duration such as PT2M or PT1H30M."""
    found = _DURATION.fullmatch(duration)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0,) * 4
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
