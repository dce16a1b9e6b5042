"""How a training is made fast without becoming another training: each choice with its reason, each to be overridden."""

import importlib.util
import shutil
from dataclasses import dataclass
from typing import Any

from phi_runner.config.schema import Attention, Choice, Loss, Optimizer, Speed, TrainConfig
from phi_runner.errors import TrainFailed
from phi_runner.model.device import Device

_OPTIMIZERS = {
    Optimizer.adamw: "adamw_torch", Optimizer.adamw_fused: "adamw_torch_fused", Optimizer.adamw_8bit: "adamw_8bit",
}  # fmt: skip
_FLASH = "flash_attention_2"
_SDPA = "sdpa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One choice, in the words of the config, and why it was made."""

    name: str
    value: str
    why: str

    def __str__(self) -> str:
        """Return the line that a person reads."""
        return f"{self.name}={self.value}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the trainer is told."""

    attention: str
    """By transformers' name."""
    end_to_end: bool
    """Rows of a micro-batch lie end to end in one row, without padding."""
    fused_loss: bool
    optimizer: str
    """By transformers' name; empty: TRL's own."""
    keep_memory: bool
    said: tuple[Setting, ...]


def choose(config: TrainConfig, *, device: Device, model: Any) -> Chosen:
    """Choose what is left at `auto`; raises TrainFailed for what this machine or model does not have."""
    from phi_runner.model.training import attention, loss

    kind, attention_why = _attention(config, device=device, phi=model.config.model_type == "phi3")
    fused, loss_why = _loss(config, device=device, suits=loss.suits(model))
    adamw, optimizer_why = _optimizer(config, device=device)
    keep, keep_why = _keep(config, device=device)
    said = (
        Setting(name="train.attention", value=kind, why=attention_why),
        Setting(name="train.loss", value=Loss.fused if fused else Loss.library, why=loss_why),
        Setting(name="train.optimizer", value=adamw, why=optimizer_why),
        Setting(name="train.keep_memory", value=Choice.always if keep else Choice.never, why=keep_why),
    )
    names = {Attention.varlen: attention.register(), Attention.flash: _FLASH}
    return Chosen(
        attention=names.get(kind, _SDPA), end_to_end=kind is not Attention.sdpa, fused_loss=fused,
        optimizer=_OPTIMIZERS[adamw], keep_memory=keep, said=said,
    )  # fmt: skip


def optimizer(config: TrainConfig, *, device: Device) -> str:
    """Return the optimiser by transformers' name; raises TrainFailed for one that is not there."""
    return _OPTIMIZERS[_optimizer(config, device=device)[0]]


def _typed(name: str, value: str) -> str:
    return f"you typed train.{name}={value}"


def _attention(config: TrainConfig, *, device: Device, phi: bool) -> tuple[Attention, str]:
    flash = importlib.util.find_spec("flash_attn") is not None
    match config.attention:
        case Attention.auto if config.speed is Speed.library:
            return Attention.sdpa, "train.speed=library leaves it to TRL"
        case Attention.auto if not phi:
            return Attention.sdpa, "the one that every model of transformers has"
        case Attention.auto if not device.cpu and flash and device.bf16:
            return Attention.flash, "FlashAttention is installed; dialogues lie end to end, nothing is padded"
        case Attention.auto:
            return Attention.varlen, "dialogues lie end to end: nothing is padded, and none sees another"
        case Attention.flash if device.cpu or not flash:
            lacks = "this is a processor" if device.cpu else "flash-attn is not installed"
            raise TrainFailed(f"train.attention=flash: {lacks}; type train.attention=varlen")
        case typed:
            return typed, _typed("attention", typed)


def _loss(config: TrainConfig, *, device: Device, suits: bool) -> tuple[bool, str]:
    special = config.extra.get("loss_type", "nll") != "nll" or config.extra.get("label_smoothing_factor")
    if config.loss is Loss.fused and (special or not suits):
        why = "train.extra asks for another loss" if special else "this model's head is not a plain product"
        raise TrainFailed(f"train.loss=fused: {why}; type train.loss=library")
    if config.loss is not Loss.auto:
        return config.loss is Loss.fused, _typed("loss", config.loss)
    if special or not suits:
        return False, "train.extra asks for another loss" if special else "the one that every model has"
    if config.speed is Speed.library:
        return False, "train.speed=library leaves it to TRL"
    if not device.cpu:
        return False, "TRL's head is made for this device"
    return True, "logits are made for labelled tokens only, and are never kept"


def _optimizer(config: TrainConfig, *, device: Device) -> tuple[Optimizer, str]:
    if config.optimizer is Optimizer.adamw_8bit and (device.cpu or importlib.util.find_spec("bitsandbytes") is None):
        lacks = "this is a processor" if device.cpu else "bitsandbytes is not installed"
        raise TrainFailed(f"train.optimizer=adamw_8bit: {lacks}; type train.optimizer=adamw_fused")
    if config.optimizer is not Optimizer.auto:
        return config.optimizer, _typed("optimizer", config.optimizer)
    return Optimizer.adamw_fused, "one pass over all weights"


def _keep(config: TrainConfig, *, device: Device) -> tuple[bool, str]:
    if config.keep_memory is not Choice.auto:
        return config.keep_memory is Choice.always, _typed("keep_memory", config.keep_memory)
    if not device.cpu or config.speed is Speed.library:
        return False, "CUDA has an allocator of its own" if not device.cpu else "train.speed=library"
    return True, "pages that a step has freed are not fetched from the system again"


def compiler_missing() -> str:
    """Say what torch.compile lacks on this machine, or nothing."""
    return "" if shutil.which("g++") or shutil.which("clang++") else "there is no C++ compiler on this machine"
