"""Cores: what a run needs of each family against what the region still gives, read before anything is made."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phi_runner.azureml import versions
from phi_runner.azureml.client import Azure
from phi_runner.azureml.wording import in_our_words
from phi_runner.config import clouds
from phi_runner.config.schema import AzureDeploy, CatalogTrain, RunConfig, StageName
from phi_runner.config.vm_sizes import nearest, quota_name
from phi_runner.errors import RemoteFailed
from phi_runner.events import StageEvents

Body = dict[str, Any]
RESERVE = 1.2
"""Azure keeps a fifth of an endpoint's cores free for its own upgrades and counts them."""
_LOW_PRIORITY, _TOTAL = "lowprioritycores", "dedicatedcores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Machines that a run is about to make."""

    key: str
    what: str
    size: str
    count: int
    reserve: float = 1.0
    low_priority: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A quota that does not suffice."""

    family: str
    """As the API names it; empty for a total that no single family is to blame for."""
    title: str
    used: int
    limit: int
    need: int
    what: str

    @property
    def have(self) -> int:
        """Cores that are still free."""
        return max(0, self.limit - self.used)

    @property
    def ask_for(self) -> int:
        """The limit that would do."""
        return self.used + self.need


def wishes(config: RunConfig, *, azure: Azure) -> list[Wish]:
    """Return the machines that the run would add to what is there already."""
    found, stages = [], set(config.stages)
    cluster = clouds.cluster_of(config)
    if cluster and not azure.arm.exists(azure.ids.cluster(cluster.cluster), api_version=versions.MACHINE_LEARNING):
        found.append(
            Wish(key="compute.vm_size", what=f"cluster {cluster.cluster}", size=cluster.vm_size,
                 count=cluster.max_nodes, low_priority=cluster.low_priority)
        )  # fmt: skip
    if isinstance(config.train, CatalogTrain) and StageName.train in stages and config.train.instance_types:
        # Azure takes the first of them that is free, so one that suffices is enough.
        found.append(
            Wish(key="train.instance_types", what="the catalog fine-tune", size=config.train.instance_types[0], count=1)
        )
    if isinstance(config.deploy, AzureDeploy) and StageName.deploy in stages:
        endpoint = azure.ids.endpoint(azure.ids.endpoint_name(config.deploy))
        if not azure.arm.listed(f"{endpoint}/deployments", api_version=versions.MACHINE_LEARNING):
            found.append(
                Wish(key="deploy.instance_type", what="the endpoint", size=config.deploy.instance_type,
                     count=config.deploy.instances, reserve=RESERVE)
            )  # fmt: skip
    return found


def shortages(config: RunConfig, *, azure: Azure) -> list[Shortage]:
    """Return the quotas that do not suffice; raises RemoteFailed when the region lacks a size."""
    with in_our_words(f"reading the quota of {config.azure.region}"):
        wanted = wishes(config, azure=azure)
        if not wanted:
            return []
        sizes = azure.arm.get(f"{azure.ids.location}/vmSizes", api_version=versions.MACHINE_LEARNING) or {}
        usages = azure.arm.listed(f"{azure.ids.location}/usages", api_version=versions.MACHINE_LEARNING)
    offered = {str(size["name"]).lower(): size for size in sizes.get("value") or sizes.get("amlCompute") or []}
    needed = _needed(wanted, offered=offered, region=config.azure.region)
    return list(_short(needed, usages=usages))


def _needed(wanted: list[Wish], *, offered: dict[str, Body], region: str) -> dict[str, tuple[int, list[str]]]:
    """Return cores and purposes by quota family."""
    needed: dict[str, tuple[int, list[str]]] = {}
    for wish in wanted:
        size = offered.get(wish.size.lower())
        if size is None:
            names = [str(item["name"]) for item in offered.values()]
            raise RemoteFailed(
                f"{wish.key}={wish.size}: the region {region} does not offer this size to this subscription; nearest "
                f"there: {', '.join(nearest(wish.size, names)) or 'none'}; or type azure.region=ANOTHER"
            )
        cores = math.ceil(int(size["vCPUs"]) * wish.count * wish.reserve)
        family = _LOW_PRIORITY if wish.low_priority else str(size["family"])
        before, purposes = needed.get(family, (0, []))
        needed[family] = before + cores, [*purposes, f"{wish.what} ({wish.count} x {wish.size})"]
    return {family: (cores, purposes) for family, (cores, purposes) in needed.items() if cores}


def _short(needed: dict[str, tuple[int, list[str]]], *, usages: list[Body]) -> Iterable[Shortage]:
    for family, (cores, purposes) in needed.items():
        usage = next((item for item in usages if _is_of(item, family)), None)
        if usage is None:
            continue  # a family that Azure does not count
        title = "low-priority cores" if family == _LOW_PRIORITY else quota_name(family)
        named = "" if family == _LOW_PRIORITY else family
        yield from _one(usage, family=named, title=title, cores=cores, purposes=purposes)
    dedicated = {family: found for family, found in needed.items() if family != _LOW_PRIORITY}
    total = next((item for item in usages if f"/{_TOTAL}/" in str(item.get("type", "")).lower()
                  and "family" not in str(item.get("type", "")).lower()), None)  # fmt: skip
    if total is not None and dedicated:
        purposes = [purpose for _cores, found in dedicated.values() for purpose in found]
        cores = sum(found for found, _purposes in dedicated.values())
        yield from _one(total, family="", title=str(total["name"]["value"]), cores=cores, purposes=purposes)


def _one(usage: Body, *, family: str, title: str, cores: int, purposes: list[str]) -> Iterable[Shortage]:
    used, limit = int(usage.get("currentValue") or 0), int(usage.get("limit") or 0)
    if 0 <= limit < used + cores:  # -1: no limit
        yield Shortage(family=family, title=title, used=used, limit=limit, need=cores, what=" and ".join(purposes))


def _is_of(usage: Body, family: str) -> bool:
    """Say whether a usage counts a family; Azure names it by id in one place and by title in another."""
    if family == _LOW_PRIORITY:
        return f"/{_LOW_PRIORITY}/" in str(usage.get("type", "")).lower()
    name = usage.get("name") or {}
    names = (name.get("value"), name.get("localizedValue"), str(usage.get("id", "")).rsplit("/", 1)[-1])
    return _plain(family) in {_plain(str(found)) for found in names}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("clusterdedicatedvcpus")


def check(config: RunConfig, *, azure: Azure, events: StageEvents) -> None:
    """Find out that the cores suffice, before anything is made; asks for more of them with azure.request_quota.

    Raises RemoteFailed that names family, have, need, region and the request.
    """
    missing = shortages(config, azure=azure)
    if missing and config.azure.request_quota:
        for shortage in missing:
            _ask(shortage, azure=azure, events=events)
        missing = shortages(config, azure=azure)
        if missing:
            raise RemoteFailed(
                f"{_told(missing, region=config.azure.region)}: Azure has been asked for them; when they are granted, "
                "the same command goes on"
            )
    if missing:
        raise RemoteFailed(
            f"{_told(missing, region=config.azure.region)}: ask with azure.request_quota=true, or with "
            f"{_command(missing[0], azure=azure)}, or in the studio under Quota; nothing was made"
        )


def _told(missing: list[Shortage], *, region: str) -> str:
    parts = [
        f"{item.title}: {item.have} of {item.limit} cores are free and {item.need} are needed for {item.what}"
        for item in missing
    ]
    return f"not enough cores in {region}: {'; '.join(parts)}"


def _command(shortage: Shortage, *, azure: Azure) -> str:
    if not shortage.family:
        return "https://aka.ms/azureml-quota"
    return (
        f"`az quota update --resource-name {shortage.family} --scope {azure.ids.location} --limit-object "
        f"value={shortage.ask_for} --resource-type dedicated`"
    )


def _ask(shortage: Shortage, *, azure: Azure, events: StageEvents) -> None:
    if not shortage.family:
        return  # totals are raised by Azure's support alone
    limit = {"limitObjectType": "LimitValue", "value": shortage.ask_for}
    properties = {"limit": limit, "name": {"value": shortage.family}, "resourceType": "dedicated"}
    events.info(f"asks Azure for {shortage.ask_for} cores of {shortage.title} (there are {shortage.limit})")
    with in_our_words(f"asking for {shortage.ask_for} cores of {shortage.family}"):
        azure.arm.put(azure.ids.quota(shortage.family), {"properties": properties}, api_version=versions.QUOTA)
