"""What a training method needs of the model and of the machine, as far as the config tells: layers, CUDA, packages."""

from collections.abc import Iterator
from importlib.util import find_spec

from phi_runner.config import clouds, typo
from phi_runner.config.architectures import LINEAR_LAYERS, SPLIT_LAYERS
from phi_runner.config.schema import (
    Attention,
    AzureCompute,
    DpoTrain,
    GpuCompute,
    GpusCompute,
    LoraTrain,
    NanoModel,
    Optimizer,
    QloraTrain,
    RunConfig,
    SlurmCompute,
    StageName,
)

FOUR_BITS = "bitsandbytes"
"""The library that keeps weights in 4 bits, and the optimiser's moments in 8."""


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what the chosen method asks for and this run does not have."""
    if isinstance(config.train, LoraTrain):
        yield from _targets(config.train)
    if StageName.train in config.stages:
        yield from _cuda(config)


def _targets(train: LoraTrain) -> Iterator[str]:
    all_of_them = ",".join(LINEAR_LAYERS)
    if isinstance(train, DpoTrain) and train.all_weights:
        return
    if not train.targets:
        yield f"train.targets is empty: type train.targets=[{all_of_them}]"
    known = {*LINEAR_LAYERS, "lm_head"} if isinstance(train, DpoTrain) else set(LINEAR_LAYERS)
    unknown = [name for name in train.targets if name not in known]
    if unknown:
        meant = dict.fromkeys(name for target in train.targets if (name := _meant(target)))
        fixed = ",".join(meant) or all_of_them
        yield (
            f"train.targets: Phi-3 has no layer {', '.join(unknown)} that takes an adapter; it has "
            f"{', '.join(LINEAR_LAYERS)}: type train.targets=[{fixed}]"
        )


def _meant(target: str) -> str:
    """Return the layer that a name stands for: as it is, split as in other models, or mistyped; or nothing."""
    if target in LINEAR_LAYERS:
        return target
    return SPLIT_LAYERS.get(target) or next(iter(typo.nearest(target, LINEAR_LAYERS)), "")


def _cuda(config: RunConfig) -> Iterator[str]:
    """Yield what only CUDA can do and would run without it."""
    train = config.train
    asked = [
        ("train=qlora keeps the base in 4 bits, which", "train=lora", isinstance(train, QloraTrain)),
        ("train.attention=flash", "train.attention=auto", train.attention is Attention.flash),
        ("train.optimizer=adamw_8bit", "train.optimizer=auto", train.optimizer is Optimizer.adamw_8bit),
    ]
    where = _without_cuda(config)
    for what, instead, chosen in asked:
        if chosen and where:
            yield f"{what} needs CUDA, and {where} has none: type compute=gpu where there is a device, or {instead}"
    needs_library = isinstance(train, QloraTrain) or train.optimizer is Optimizer.adamw_8bit
    if needs_library and not where and find_spec(FOUR_BITS) is None:
        what, instead = ("train=qlora", "train=lora") if isinstance(train, QloraTrain) else asked[2][:2]
        yield f"{what} needs {FOUR_BITS}: type pip install {FOUR_BITS}, or {instead}"
    if isinstance(train, QloraTrain) and isinstance(config.model, NanoModel) and not config.model.path:
        yield "train=qlora needs a trained base, and model=phi3_nano starts from random weights: type train=full"


def _without_cuda(config: RunConfig) -> str:
    """Name the compute choice when it computes on a processor, else return nothing."""
    match config.compute:
        case GpuCompute() | GpusCompute() | SlurmCompute(gpu=True):
            return ""
        case AzureCompute(gpu=True):
            return "azure=rehearsal, which computes on this machine's processor," if clouds.rehearses(config) else ""
        case SlurmCompute():
            return "compute.gpu=false"
        case AzureCompute():
            return "compute=azure_cpu"
        case _:
            return f"compute={config.compute.kind}"
