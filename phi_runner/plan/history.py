"""What earlier trainings took on the same kind of machine, read from what they left in the store."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phi_runner import machine
from phi_runner.artifacts import MEASURED_FILE
from phi_runner.config.architectures import Architecture
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.plan.place import Place
from phi_runner.plan.shape import architecture_told
from phi_runner.store import Manifest, Store

_TOKENIZED_BY = ("repo", "path", "vocab_size")
_MOST = 40
"""Newest results that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One training that ended well."""

    manifest: Manifest
    architecture: Architecture
    parameters: int
    trained: int
    tokens: float
    steps_s: float
    loop_s: float
    attended: float
    epochs: float
    checkpointed: bool
    fused_loss: bool
    micro_batch: int
    processes: int
    peak_gib: float
    peak_cuda_gib: float

    @property
    def method(self) -> str:
        """Return what of the method changes its speed: a text, equal where it is."""
        wanted = ("config:train.rank", "config:train.targets", "config:train.max_length", "config:train.packing",
                  "config:train.dropout", "config:train.beta")  # fmt: skip
        parts = self.manifest.parts
        kept = sorted(f"{name}={text}" for name, text in parts.items() if name.startswith(wanted))
        return " ".join([*kept, f"{self.micro_batch}", f"{self.checkpointed}", f"{self.processes}"])


def pasts(store: Store, *, place: Place) -> list[Past]:
    """Return earlier trainings on the same kind of machine, the newest first."""
    return [past for past, told in _all(store) if _comparable(told, place)]


def tokens_before(store: Store, *, config: RunConfig, data: str) -> float:
    """Return the tokens of an epoch as an earlier training on the same rows counted them; 0: there was none."""
    train = config.train
    for past, _machine in _all(store) if data else ():
        parts = past.manifest.parts
        same = past.manifest.inputs.get(StageName.data) == data and _model(parts) == _asked(config)
        if same and past.epochs and parts.get("config:train.max_length") == str(train.max_length):
            return past.tokens / past.epochs
    return 0.0


def _model(parts: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(parts.get(f"config:model.{name}") for name in _TOKENIZED_BY)


def _asked(config: RunConfig) -> tuple[str | None, ...]:
    values = (getattr(config.model, name, None) for name in _TOKENIZED_BY)
    return tuple(None if value is None else str(value) for value in values)


def _all(store: Store) -> Iterator[tuple[Past, dict[str, Any]]]:
    for manifest in store.manifests(StageName.train)[:_MOST]:
        file = store.folder(StageName.train, manifest.key) / MEASURED_FILE
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            yield _past(manifest, told), told["machine"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # made before it was measured, or elsewhere
            continue


def _past(manifest: Manifest, told: dict[str, Any]) -> Past:
    settings = told["settings"]
    if not told["tokens"] or not told["steps_s"]:
        raise ValueError("nothing was measured")
    return Past(
        manifest=manifest, architecture=architecture_told(settings["shape"]), parameters=int(settings["parameters"]),
        trained=int(settings["trained"]), tokens=float(told["tokens"]), steps_s=float(told["steps_s"]),
        loop_s=float(told["loop_s"]), attended=float(settings["attended"] or 0.0), epochs=float(told["epochs"]),
        checkpointed=bool(settings["gradient_checkpointing"]), fused_loss=bool(settings["fused_loss"]),
        micro_batch=int(settings["micro_batch"]), processes=int(settings["processes"]),
        peak_gib=float(told["peak_bytes"]) / 2**30, peak_cuda_gib=float(told["peak_cuda_bytes"]) / 2**30,
    )  # fmt: skip


def _comparable(told: dict[str, Any], place: Place) -> bool:
    """Say whether what was measured on a machine holds for a place: the same processor, or the same GPU."""
    gpu = str(told.get("gpu", ""))
    if place.cuda:
        return bool(gpu) and (gpu == place.gpu or place.gpu in gpu.replace("-", " ").split())
    return place.here and not gpu and machine.here().as_fast_as(told, on_gpu=False)
