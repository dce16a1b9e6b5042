"""The numbers of the model that a run starts from, and exact counts of its weights, adapters and optimiser state."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config.architectures import LINEAR_LAYERS, MODEL_TYPE, Architecture, architecture_of
from phi_runner.config.schema import (
    CatalogTrain,
    DoraTrain,
    DpoTrain,
    HubModel,
    LoraTrain,
    NanoModel,
    RunConfig,
    StageName,
    TrainConfig,
)
from phi_runner.plan.bands import Counts, Missing
from phi_runner.store import Store

HEAD = "lm_head"
_CATALOG = "Phi-3-mini-4k-instruct"
_PLACES = ("model", "base")
"""Where a training result holds the `config.json` of the model that it started from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's numbers, and how sure they are."""

    architecture: Architecture
    source: str
    at_most: bool = False
    """Its vocabulary may turn out smaller."""


def shape_of(config: RunConfig, *, store: Store, keys: Mapping[StageName, str]) -> Shape | Missing:
    """Return the shape of the model that a run starts from; a nano model's vocabulary is that of an earlier training.

    Its tokenizer is learnt from the data, which says how large it gets.
    """
    model = config.model
    if isinstance(config.train, CatalogTrain):
        return _catalog(config.train)
    if model.path:
        return _folder(Path(model.path).expanduser())
    match model:
        case NanoModel():
            return _nano(model, config=config, store=store, data=keys.get(StageName.data, ""))
        case HubModel():
            return _hub(model)
        case _:
            return Missing(what="the model's size: type model.path=FOLDER")


def _catalog(train: CatalogTrain) -> Shape | Missing:
    name = next((repo for repo in _repos() if repo.rpartition("/")[2] in train.model_uri), "")
    found = architecture_of(name)
    if found is None:
        return Missing(what=f"the size of {train.model_uri}: no preset names that model")
    return Shape(architecture=found, source=f"config.json of {name}")


def _repos() -> list[str]:
    from phi_runner.config.architectures import ARCHITECTURES

    return sorted(ARCHITECTURES, key=len, reverse=True)


def _hub(model: HubModel) -> Shape | Missing:
    if found := architecture_of(model.repo):
        return Shape(architecture=found, source=f"config.json of {model.repo}")
    for folder in _downloaded(model.repo):
        read = _folder(folder)
        if isinstance(read, Shape):
            return read
    return Missing(
        what=f"the size of {model.repo}: no preset names it and it was never downloaded here; with it in a folder, "
        "type model=local model.path=FOLDER"
    )


def _downloaded(repo: str) -> list[Path]:
    """Return the folders in which the hub's own cache keeps revisions of a model, the newest first."""
    home = Path(os.environ.get("HF_HOME", "") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", "") or home / "hub")
    found = (cache / f"models--{repo.replace('/', '--')}" / "snapshots").glob("*/config.json")
    return [file.parent for file in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)]


def _folder(folder: Path) -> Shape | Missing:
    file = folder / "config.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told.get("model_type") != MODEL_TYPE:
            return Missing(what=f"the model's size: {file} is of type {told.get('model_type')}, not {MODEL_TYPE}")
        return Shape(architecture=architecture_told(told), source=str(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Missing(what=f"the model's size: {file} cannot be read")


def architecture_told(told: dict[str, Any]) -> Architecture:
    """Read the numbers by the names that `config.json` gives them; raises KeyError, TypeError or ValueError."""
    rope = told.get("rope_parameters") or {}
    context = int(told.get("max_position_embeddings", 4096))
    return Architecture(
        family="", hidden_size=int(told["hidden_size"]), intermediate_size=int(told["intermediate_size"]),
        layers=int(told["num_hidden_layers"]), heads=int(told["num_attention_heads"]),
        kv_heads=int(told.get("num_key_value_heads") or told["num_attention_heads"]),
        vocab_size=int(told["vocab_size"]), context=context,
        original_context=int(told.get("original_max_position_embeddings") or context),
        sliding_window=int(told.get("sliding_window") or 0),
        partial_rotary=float(rope.get("partial_rotary_factor") or told.get("partial_rotary_factor") or 1.0),
        tied=bool(told.get("tie_word_embeddings", False)),
    )  # fmt: skip


def _nano(model: NanoModel, *, config: RunConfig, store: Store, data: str) -> Shape:
    known = next(_learnt(config, store=store, data=data), 0)
    shape = Architecture(
        family="phi3", hidden_size=model.hidden_size, intermediate_size=model.intermediate_size, layers=model.layers,
        heads=model.heads, kv_heads=model.heads, vocab_size=known or model.vocab_size, context=model.context,
        original_context=model.context, tied=True,
    )  # fmt: skip
    told = "a stored training on the same data" if known else "model.vocab_size, an upper bound"
    return Shape(architecture=shape, source=f"the config, its vocabulary from {told}", at_most=not known)


def _learnt(config: RunConfig, *, store: Store, data: str) -> Iterator[int]:
    """Yield the vocabulary of stored models that were made from the same data with the same upper bound."""
    assert isinstance(config.model, NanoModel)  # noqa: S101 - the caller has matched it
    for manifest in store.manifests(StageName.train) if data else []:
        asked = manifest.parts.get("config:model.vocab_size")
        if manifest.inputs.get(StageName.data) != data or asked != str(config.model.vocab_size):
            continue
        for place in _PLACES:
            read = _folder(store.folder(StageName.train, manifest.key) / place)
            if isinstance(read, Shape):
                yield read.architecture.vocab_size


def counts(shape: Shape, train: TrainConfig) -> Counts:
    """Return how many weights there are, how many of them are trained, and what the optimiser keeps of those."""
    architecture = shape.architecture
    trained = adapter_weights(architecture, train) if _adapters(train) else architecture.parameters
    return Counts(
        parameters=architecture.parameters, trained=trained, optimiser=2 * trained, at_most=shape.at_most
    )  # fmt: skip


def _adapters(train: TrainConfig) -> bool:
    return isinstance(train, LoraTrain) and not (isinstance(train, DpoTrain) and train.all_weights)


def trains_adapters(train: TrainConfig) -> bool:
    """Say whether the base's own weights stay as they are."""
    return _adapters(train)


def adapter_weights(architecture: Architecture, train: TrainConfig) -> int:
    """Count the weights that low-rank adapters add; DoRA keeps a magnitude of each output beside them.

    A target that the model does not have adds none.
    """
    assert isinstance(train, LoraTrain)  # noqa: S101
    sizes = linear_sizes(architecture)
    found = 0
    for target in dict.fromkeys(train.targets):
        if target in sizes:
            taken, given = sizes[target]
            times = 1 if target == HEAD else architecture.layers
            found += times * (train.rank * (taken + given) + (given if isinstance(train, DoraTrain) else 0))
    return found


def linear_sizes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Return what each linear layer takes and gives, by name, the head's too."""
    hidden, intermediate = architecture.hidden_size, architecture.intermediate_size
    head = hidden // architecture.heads
    query = architecture.heads * head
    sizes = ((hidden, query + 2 * architecture.kv_heads * head), (query, hidden), (hidden, 2 * intermediate),
             (intermediate, hidden))  # fmt: skip
    return dict(zip(LINEAR_LAYERS, sizes, strict=True)) | {HEAD: (hidden, architecture.vocab_size)}
