"""What to type when a training does not fit: each change is estimated again, and told only if it then fits."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, replace

from phi_runner.config import prices, vm_sizes
from phi_runner.config.schema import (
    AzureCompute,
    Choice,
    DpoTrain,
    FullTrain,
    GpuCompute,
    GpusCompute,
    LoraTrain,
    NanoModel,
    QloraTrain,
    RunConfig,
    Strategy,
    TrainConfig,
)
from phi_runner.config.vm_sizes import VmSize
from phi_runner.plan.bands import Band, Memory
from phi_runner.plan.place import Place, on_size

_SHORTEST = 256

Attempt = Callable[[RunConfig, Place | None], Memory | None]
"""Estimates the train stage of a changed config, on another machine where one is given."""


def advise(config: RunConfig, memory: Memory, *, attempt: Attempt) -> list[str]:
    """Return one line for each change after which the training fits, the smallest change first."""
    needs, has = memory.per_device or memory.per_process, memory.available
    if not isinstance(needs, Band) or not isinstance(has, Band):
        return []
    told = []
    for family in _changes(config):
        for typed, changed in family:
            found = attempt(changed, None)
            if found and found.fits:
                instead = f"instead of {needs.likely:.1f}, where {has.likely:.1f} are free"
                told.append(f"type {typed}: about {_gib(found)} GiB {instead}")
                break
    told += _sizes(config, attempt=attempt)
    return told or [
        "nothing helps that was tried (checkpointing, shorter rows, adapters, 4 bits, larger machines): the training "
        f"needs about {needs.likely:.1f} GiB and {has.likely:.1f} are free; choose a smaller model"
    ]


def _gib(memory: Memory) -> str:
    needs = memory.per_device or memory.per_process
    return f"{needs.likely:.1f}" if isinstance(needs, Band) else "?"


def _changes(config: RunConfig) -> Iterator[Iterator[tuple[str, RunConfig]]]:
    """Yield ways out, each by what can be typed and the config that it makes, the mildest first."""
    yield _again(config)
    yield _divided(config)
    yield _with_adapters(config)
    yield _in_four_bits(config)
    yield _shorter(config)


def _again(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """Compute activations again, and fewer rows at once: the runner does both on its own where nothing was typed."""
    again = _with(config, gradient_checkpointing=Choice.always)
    if config.train.gradient_checkpointing is Choice.never:
        yield "train.gradient_checkpointing=always", again
    if config.train.micro_batch > 1:
        yield "train.micro_batch=1", _with(config, micro_batch=1)
        yield "train.micro_batch=1 train.gradient_checkpointing=always", _with(again, micro_batch=1)


def _shorter(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    again = _with(config, gradient_checkpointing=Choice.always, micro_batch=1)
    length = config.train.max_length // 2
    while length >= _SHORTEST:
        typed = f"train.max_length={length} train.gradient_checkpointing=always train.micro_batch=1"
        yield typed, _with(again, max_length=length)
        length //= 2


def _with(config: RunConfig, **values: object) -> RunConfig:
    changed = deepcopy(config)
    for name, value in values.items():
        setattr(changed.train, name, value)
    return changed


def _as(kind: type[LoraTrain], train: TrainConfig) -> LoraTrain:
    """Return the same settings for another method."""
    known = kind.__dataclass_fields__
    return kind(**{item.name: getattr(train, item.name) for item in fields(train) if item.name in known})


def _with_adapters(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    if isinstance(config.train, DpoTrain):
        if config.train.all_weights:
            yield "train.all_weights=false", _with(config, all_weights=False)
        return
    if not isinstance(config.train, FullTrain):
        return
    changed = deepcopy(config)
    changed.train = _as(LoraTrain, config.train)
    yield "train=lora", changed
    yield "train=lora train.gradient_checkpointing=always", _with(changed, gradient_checkpointing=Choice.always)


def _in_four_bits(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    compute, train = config.compute, config.train
    on_cuda = isinstance(compute, GpuCompute | GpusCompute) or (isinstance(compute, AzureCompute) and compute.gpu)
    made_here = isinstance(config.model, NanoModel) and not config.model.path
    if not on_cuda or made_here or isinstance(train, DpoTrain | QloraTrain):
        return
    changed = deepcopy(config)
    changed.train = _as(QloraTrain, train)
    yield "train=qlora", changed
    yield "train=qlora train.gradient_checkpointing=always", _with(changed, gradient_checkpointing=Choice.always)


def _divided(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """Divide the model among the devices of this machine, where there are several."""
    compute = config.compute
    whole = isinstance(config.train, QloraTrain)
    if isinstance(compute, GpusCompute) and compute.strategy is Strategy.ddp and not whole:
        changed = deepcopy(config)
        changed.compute = replace(compute, strategy=Strategy.fsdp)
        yield "compute=gpus_fsdp", changed


def _sizes(config: RunConfig, *, attempt: Attempt) -> list[str]:
    """Return the cheapest size of Azure that would do, with what it costs; for adapters where nothing else fits."""
    for typed, changed in (("", config), *_with_adapters(config)):
        for usd, size in _offered(changed):
            cuda = bool(size.gpus)
            found = attempt(changed, on_size(changed, size, cuda=cuda))
            if not found or not found.fits:
                continue
            preset = "azure_gpu" if cuda else "azure_cpu"
            memory = f"{size.gpu_memory_gib:g} GiB {size.gpu}" if cuda else f"{size.memory_gib:g} GiB"
            whole = " ".join(filter(None, [typed, f"compute={preset} compute.vm_size={size.name}"]))
            return [
                f"type {whole}: {memory}, of which about {_gib(found)} GiB are needed, {usd:.2f} USD an hour "
                f"(list price of {prices.table().as_of})"
            ]
    return []


def _offered(config: RunConfig) -> list[tuple[float, VmSize]]:
    """Return the sizes that a training can be moved to, the cheapest first; 4 bits need a GPU."""
    gpu_only = isinstance(config.train, QloraTrain) or (isinstance(config.compute, AzureCompute) and config.compute.gpu)
    found = [
        (usd, size) for size in vm_sizes.SIZES.values()
        if not size.retired and (size.gpus or not gpu_only) and (usd := vm_sizes.price(config, size.name)) is not None
    ]  # fmt: skip
    return sorted(found, key=lambda pair: pair[0])
