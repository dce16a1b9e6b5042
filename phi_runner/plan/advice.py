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
from phi_runner.plan.bands import Band, Memory
from phi_runner.plan.place import Place, on_size

_SHORTEST = 256
_MOST = 5
"""Lines that help; more would hide the best."""
_SIZES_TOLD = 1

Attempt = Callable[[RunConfig, Place | None], Memory | None]
"""Estimates the train stage of a changed config, on another machine where one is given."""


def advise(config: RunConfig, memory: Memory, *, attempt: Attempt) -> list[str]:
    """Return one line for each change after which the training fits, the smallest change first."""
    needs, has = memory.per_device or memory.per_process, memory.available
    if not isinstance(needs, Band) or not isinstance(has, Band):
        return []
    told = []
    for typed, changed in _changes(config, memory):
        found = attempt(changed, None)
        if found and found.fits:
            instead = f"instead of {needs.likely:.1f}, where {has.likely:.1f} are free"
            told.append(f"type {typed}: about {_gib(found)} GiB {instead}")
        if len(told) == _MOST:
            break
    told += _sizes(config, attempt=attempt)
    return told or [
        "nothing helps that was tried (checkpointing, shorter rows, adapters, 4 bits, larger machines): the training "
        f"needs about {needs.likely:.1f} GiB and {has.likely:.1f} are free; choose a smaller model"
    ]


def _gib(memory: Memory) -> str:
    needs = memory.per_device or memory.per_process
    return f"{needs.likely:.1f}" if isinstance(needs, Band) else "?"


def _changes(config: RunConfig, memory: Memory) -> Iterator[tuple[str, RunConfig]]:
    """Yield what can be typed and the config that it makes, the mildest first."""
    train = config.train
    if train.gradient_checkpointing is Choice.never:
        yield "train.gradient_checkpointing=always", _with(config, gradient_checkpointing=Choice.always)
    if train.micro_batch > 1:
        yield "train.micro_batch=1", _with(config, micro_batch=1)
        yield (
            "train.micro_batch=1 train.gradient_checkpointing=always",
            _with(config, micro_batch=1, gradient_checkpointing=Choice.always),
        )
    yield from _divided(config)
    if isinstance(train, FullTrain) or (isinstance(train, DpoTrain) and train.all_weights):
        yield from _with_adapters(config)
    if memory.per_device and isinstance(train, LoraTrain) and not isinstance(train, DpoTrain | QloraTrain):
        yield from _in_four_bits(config)
    length = train.max_length // 2
    while length >= _SHORTEST:
        shorter = _with(config, max_length=length, gradient_checkpointing=Choice.always, micro_batch=1)
        yield f"train.max_length={length} train.gradient_checkpointing=always train.micro_batch=1", shorter
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
    changed = deepcopy(config)
    if isinstance(config.train, DpoTrain):
        yield "train.all_weights=false", _with(config, all_weights=False)
        return
    changed.train = _as(LoraTrain, config.train)
    yield "train=lora", changed
    yield "train=lora train.gradient_checkpointing=always", _with(changed, gradient_checkpointing=Choice.always)
    if isinstance(config.compute, GpuCompute | GpusCompute | AzureCompute):
        yield from _in_four_bits(config)


def _in_four_bits(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    compute = config.compute
    on_cuda = isinstance(compute, GpuCompute | GpusCompute) or (isinstance(compute, AzureCompute) and compute.gpu)
    if not on_cuda or isinstance(config.model, NanoModel):
        return
    changed = deepcopy(config)
    changed.train = _as(QloraTrain, config.train)
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
    """Return the cheapest size of Azure that would do, with what it costs."""
    cuda = not isinstance(config.compute, AzureCompute) or config.compute.gpu
    known = [
        (usd, size) for size in vm_sizes.SIZES.values()
        if not size.retired and (usd := vm_sizes.price(config, size.name)) is not None and bool(size.gpus) is cuda
    ]  # fmt: skip
    told = []
    for usd, size in sorted(known, key=lambda pair: pair[0]):
        found = attempt(config, on_size(config, size, cuda=cuda))
        if found and found.fits:
            preset = "azure_gpu" if cuda else "azure_cpu"
            memory = f"{size.gpu_memory_gib:g} GiB {size.gpu}" if cuda else f"{size.memory_gib:g} GiB"
            told.append(
                f"type compute={preset} compute.vm_size={size.name}: {memory}, of which about {_gib(found)} GiB are "
                f"needed, {usd:.2f} USD an hour (list price of {prices.table().as_of})"
            )
        if len(told) == _SIZES_TOLD:
            break
    return told
