"""What a run bills: each machine by its hours and the dated price table, and what goes on billing afterwards."""

from collections.abc import Collection, Mapping

from phi_runner.config import clouds, prices, vm_sizes
from phi_runner.config.schema import CatalogTrain, RunConfig, StageName
from phi_runner.config.vm_sizes import Rented
from phi_runner.plan.bands import Band, Bill, Figure, Missing
from phi_runner.plan.hours import plus

_HOUR = Band(low=1.0, likely=1.0, high=1.0, unit="h", source="one hour of what stays until teardown")
_CLUSTER, _ENDPOINT = "compute.vm_size", "deploy.instance_type"
_COMPUTED = (StageName.train, StageName.evaluate)


def bills(config: RunConfig, *, hours: Mapping[StageName, Figure], reused: Collection[StageName]) -> tuple[Bill, ...]:
    """Return everything that bills; nothing does in an emulated cloud."""
    if clouds.rehearses(config) or not clouds.needs_azure(config):
        return ()
    rented = [item for item in vm_sizes.rented(config) if item.count]
    found = [bill for item in rented if (bill := _bill(config, item, hours=hours, reused=reused))]
    return (*found, *_registry(config, reused=reused))


def _bill(
    config: RunConfig, item: Rented, *, hours: Mapping[StageName, Figure], reused: Collection[StageName]
) -> Bill | None:
    if item.key == _ENDPOINT:
        return _billed(config, item, count=item.count, hours=_HOUR, stays=True)
    wanted = [hours[stage] for stage in _COMPUTED if stage in hours and stage not in reused]
    if not wanted:
        return None
    cluster = clouds.cluster_of(config)
    if item.key != _CLUSTER or cluster is None:
        return _billed(config, item, count=1, hours=hours[StageName.train], stays=False)
    count = max(config.azure.nodes, cluster.min_nodes)
    if cluster.min_nodes:
        return _billed(config, item, count=count, hours=plus(*wanted, _HOUR), stays=True)
    idle = cluster.idle_s / 3600
    rest = Band(low=idle, likely=idle, high=idle, unit="h", source=f"compute.idle_s={cluster.idle_s}")
    return _billed(config, item, count=count, hours=plus(*wanted, rest), stays=False, low_priority=cluster.low_priority)


def _billed(
    config: RunConfig, item: Rented, *, count: int, hours: Figure, stays: bool, low_priority: bool = False
) -> Bill:
    rate = rate_of(config, item.size, count=count, low_priority=low_priority)
    return Bill(
        what=item.what, size=item.size, count=count, usd_per_hour=rate, hours=hours, usd=_times(rate, hours),
        stays=stays,
    )  # fmt: skip


def rate_of(config: RunConfig, size: str, *, count: int = 1, low_priority: bool = False) -> Figure:
    """Return the USD an hour of machines of a size."""
    usd = vm_sizes.price(config, size)
    if usd is None:
        return Missing(what=f"the price of {size}: type +azure.prices.{size}=USD_PER_HOUR")
    table = prices.table()
    typed = size.lower() in {name.lower() for name in config.azure.prices}
    source = "azure.prices" if typed else f"list prices of {table.as_of} in {table.region}, indicative"
    if low_priority:
        source += "; low-priority nodes cost less, how much less is not known: counted in full"
    return Band(low=usd * count, likely=usd * count, high=usd * count, unit="USD/h", source=source)


def _times(rate: Figure, hours: Figure) -> Figure:
    if isinstance(rate, Missing):
        return rate
    if isinstance(hours, Missing):
        return Missing(what=f"what it costs: {hours.what}")
    return Band(
        low=rate.low * hours.low, likely=rate.likely * hours.likely, high=rate.high * hours.high, unit="USD",
        source=rate.source,
    )  # fmt: skip


def _registry(config: RunConfig, *, reused: Collection[StageName]) -> tuple[Bill, ...]:
    """Return the workspace's container registry where this run makes it: it bills until it is removed."""
    if StageName.infra not in config.stages or StageName.infra in reused or isinstance(config.train, CatalogTrain):
        return ()
    table = prices.table()
    usd, source = table.container_registry, f"list prices of {table.as_of} in {table.region}, indicative"
    rate = Band(low=usd, likely=usd, high=usd, unit="USD/h", source=source)
    bill = Bill(
        what="container registry", size="Basic", count=1, usd_per_hour=rate, hours=_HOUR, usd=_times(rate, _HOUR),
        stays=True,
    )  # fmt: skip
    return (bill,)


def summed(figures: Collection[Figure], *, unit: str) -> Figure:
    """Return the sum of costs; a missing one makes it missing."""
    missing = next((figure for figure in figures if isinstance(figure, Missing)), None)
    if missing:
        return missing
    bands = [figure for figure in figures if isinstance(figure, Band)]
    sources = dict.fromkeys(band.source for band in bands)
    return Band(
        low=sum(band.low for band in bands), likely=sum(band.likely for band in bands),
        high=sum(band.high for band in bands), unit=unit, source="; ".join(sources) or "nothing bills",
    )  # fmt: skip
