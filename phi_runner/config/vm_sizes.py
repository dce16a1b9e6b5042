"""Azure's machine sizes: cores, memory, GPUs and quota families, so that a plan needs no network."""

import difflib
from dataclasses import dataclass

from phi_runner.config import clouds, prices
from phi_runner.config.schema import AzureDeploy, CatalogTrain, RunConfig, StageName

_NEAREST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSize:
    """One size; memory in GiB."""

    name: str
    cores: int
    memory_gib: float
    family: str
    """Quota family as the API names it."""
    gpus: int = 0
    gpu: str = ""
    gpu_memory_gib: float = 0.0
    """Memory of one GPU."""
    retired: str = ""
    """Date on which Azure retired it; empty: it is on offer."""
    instead: str = ""
    """What to use for a retired size."""

    @property
    def quota_name(self) -> str:
        """The family as the portal's quota page names it."""
        return quota_name(self.family)


def quota_name(family: str) -> str:
    """Return the portal's name of a quota family: `Standard NCADSA100v4 Family Cluster Dedicated vCPUs`."""
    series = family.replace(" ", "").lower().removeprefix("standard").removesuffix("family")
    written = family.replace(" ", "")[len("standard") : len("standard") + len(series)]
    return f"Standard {written} Family Cluster Dedicated vCPUs"


def _plain(series: str, family: str, *rows: tuple[str, int, float]) -> list[VmSize]:
    return [
        VmSize(name=f"Standard_{series}{name}", cores=cores, memory_gib=memory, family=family)
        for name, cores, memory in rows
    ]


def _gpu(gpu: str, memory_gib: float, family: str, *rows: tuple[str, int, float, int]) -> list[VmSize]:
    return [
        VmSize(
            name=f"Standard_{name}", cores=cores, memory_gib=memory, family=family, gpus=gpus, gpu=gpu,
            gpu_memory_gib=memory_gib,
        )
        for name, cores, memory, gpus in rows
    ]  # fmt: skip


def _v100(name: str, *, cores: int, memory_gib: float, gpus: int) -> VmSize:
    return VmSize(
        name=name, cores=cores, memory_gib=memory_gib, family="standardNCSv3Family", gpus=gpus,
        gpu="V100", gpu_memory_gib=16, retired="2025-09-30",
        instead="Standard_NC24ads_A100_v4, or the smaller Standard_NC4as_T4_v3",
    )  # fmt: skip


_SIZES = (
    *_plain("D", "standardDSv2Family", ("S2_v2", 2, 7), ("S3_v2", 4, 14), ("S4_v2", 8, 28)),
    *_plain(
        "D", "standardDSv3Family",
        ("2s_v3", 2, 8), ("4s_v3", 4, 16), ("8s_v3", 8, 32), ("16s_v3", 16, 64),
    ),
    *_plain(
        "E", "standardESv3Family",
        ("2s_v3", 2, 16), ("4s_v3", 4, 32), ("8s_v3", 8, 64), ("16s_v3", 16, 128),
        ("32s_v3", 32, 256),
    ),
    *_plain(
        "F", "standardFSv2Family",
        ("2s_v2", 2, 4), ("4s_v2", 4, 8), ("8s_v2", 8, 16), ("16s_v2", 16, 32),
    ),
    *_gpu(
        "T4", 16, "standardNCASv3_T4Family",
        ("NC4as_T4_v3", 4, 28, 1), ("NC8as_T4_v3", 8, 56, 1), ("NC16as_T4_v3", 16, 110, 1),
        ("NC64as_T4_v3", 64, 440, 4),
    ),
    *_gpu("A10", 24, "standardNVADSA10v5Family", ("NV36ads_A10_v5", 36, 440, 1)),
    *_gpu(
        "A100", 80, "standardNCADSA100v4Family",
        ("NC24ads_A100_v4", 24, 220, 1), ("NC48ads_A100_v4", 48, 440, 2),
        ("NC96ads_A100_v4", 96, 880, 4),
    ),
    *_gpu("A100", 40, "standardNDASv4_A100Family", ("ND96asr_v4", 96, 900, 8)),
    *_gpu("A100", 80, "standardNDAMSv4_A100Family", ("ND96amsr_A100_v4", 96, 1900, 8)),
    *_gpu(
        "H100", 94, "standardNCADSH100v5Family",
        ("NC40ads_H100_v5", 40, 320, 1), ("NC80adis_H100_v5", 80, 640, 2),
    ),
    *_gpu("H100", 80, "standardNDSH100v5Family", ("ND96isr_H100_v5", 96, 1900, 8)),
    _v100("Standard_NC6s_v3", cores=6, memory_gib=112, gpus=1),
    _v100("Standard_NC12s_v3", cores=12, memory_gib=224, gpus=2),
    _v100("Standard_NC24s_v3", cores=24, memory_gib=448, gpus=4),
    _v100("Standard_NC24rs_v3", cores=24, memory_gib=448, gpus=4),
)  # fmt: skip
SIZES = {size.name: size for size in _SIZES}
_BY_LOWER = {name.lower(): size for name, size in SIZES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """Machines of one size that a run makes."""

    key: str
    """The config key that names the size."""
    what: str
    size: str
    count: int


def lookup(name: str) -> VmSize | None:
    """Return the size of that name, whatever its case; None when the table lacks it."""
    return _BY_LOWER.get(name.lower())


def nearest(name: str, names: list[str] | None = None) -> list[str]:
    """Return up to three names of sizes on offer that look most like `name`, the likest first."""
    offered = names if names is not None else [size.name for size in _SIZES if not size.retired]
    lower = {offer.lower(): offer for offer in offered}
    return [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=_NEAREST, cutoff=0.0)]


def rented(config: RunConfig) -> list[Rented]:
    """Return the machines that the selected stages can make, all there at once at worst."""
    found, stages = [], set(config.stages)
    if cluster := clouds.cluster_of(config):
        found.append(
            Rented(key="compute.vm_size", what=f"cluster {cluster.cluster}", size=cluster.vm_size,
                   count=cluster.max_nodes)
        )  # fmt: skip
    if isinstance(config.train, CatalogTrain) and StageName.train in stages:
        sizes = sorted(config.train.instance_types, key=lambda name: price(config, name) or 0.0, reverse=True)
        found += [
            Rented(key="train.instance_types", what="catalog fine-tune", size=size, count=int(size == sizes[0]))
            for size in sizes
        ]
    if isinstance(config.deploy, AzureDeploy) and StageName.deploy in stages:
        found.append(
            Rented(key="deploy.instance_type", what="endpoint", size=config.deploy.instance_type,
                   count=config.deploy.instances)
        )  # fmt: skip
    return found


def price(config: RunConfig, name: str) -> float | None:
    """Return the USD an hour of a size: the one that the user has typed, else the table's; None where neither knows."""
    typed = {size.lower(): usd for size, usd in config.azure.prices.items()}
    return typed.get(name.lower(), prices.table().of(name))


def usd_per_hour(config: RunConfig) -> list[tuple[str, float]]:
    """Return what a run can bill by the hour: a description and the most it costs, in USD.

    A catalog fine-tune counts with the dearest of its sizes, low-priority nodes with the full price, and a size whose
    price is not known with nothing.
    """
    return [
        (f"{item.what} ({item.count} x {item.size})", item.count * (price(config, item.size) or 0.0))
        for item in rented(config)
        if item.count
    ]


def problems(config: RunConfig) -> list[str]:
    """Return what is wrong with the sizes that a run names, one line each."""
    found = [
        f"{item.key}={item.size} is no size that is known. Did you mean {' or '.join(nearest(item.size))}?"
        for item in rented(config)
        if lookup(item.size) is None
    ]
    costs = usd_per_hour(config)
    total = sum(usd for _what, usd in costs)
    if total > config.azure.max_usd_per_hour:
        parts = " + ".join(f"{what} {usd:.2f}" for what, usd in costs)
        found.append(
            f"azure.max_usd_per_hour={config.azure.max_usd_per_hour:g} is less than the {total:.2f} USD that this run "
            f"can bill an hour: {parts} (list prices of {prices.table().as_of}, indicative); raise it, or choose "
            "smaller sizes"
        )
    return found


def warnings(config: RunConfig) -> list[str]:
    """Return what the user should know about the sizes that a run names, one line each."""
    found = []
    for item in rented(config):
        size = lookup(item.size)
        if size and size.retired:
            found.append(
                f"{item.key}={size.name}: Azure retired this size on {size.retired} and will refuse it; "
                f"use {size.instead}"
            )
    return found
