"""What a run starts from: chat rows and a model."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import ClassVar

from omegaconf import MISSING


class RowFormat(StrEnum):
    """How a row spells a dialogue."""

    messages = auto()
    conversations = auto()
    instruction = auto()
    prompt = auto()
    preference = auto()
    """`chosen` and `rejected` answers to one prompt, for train=dpo."""
    auto = auto()  # last: from here on the class body sees this name instead of enum's


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Chat rows, and how many of them are held out."""

    kind: ClassVar[str] = ""
    take: str = "100%"
    """How many rows to use, a count (`10`) or a share (`1%`), from the top of the source."""
    eval_fraction: float = 0.2
    """Share of the dialogues held out, where the source has no held-out rows of its own (the tutorials' 80/20)."""


@dataclass(kw_only=True, slots=True)
class SampleData(DataConfig):
    """The chat set shipped with phi_runner; its held-out rows are paraphrases of what it teaches."""

    kind: ClassVar[str] = "sample"


@dataclass(kw_only=True, slots=True)
class FileData(DataConfig):
    """Local JSONL, JSON, CSV or Parquet."""

    kind: ClassVar[str] = "file"
    train_file: str = MISSING
    """Path of the rows to learn from."""
    eval_file: str = ""
    """Path of held-out rows; empty: `eval_fraction` of `train_file` is held out."""
    format: RowFormat = RowFormat.auto
    """How the rows spell a dialogue; `auto` reads the first row's field names and says what it found."""
    stream: bool = False
    """Read the rows while training, from the top, and write none: for data larger than the disk."""
    stream_eval_rows: int = 500
    """Rows held out of the beginning of the source when `stream` is on."""


@dataclass(kw_only=True, slots=True)
class HubData(DataConfig):
    """A data set of the Hugging Face hub."""

    kind: ClassVar[str] = "hub"
    repo: str = MISSING
    """Data set id, `owner/name`."""
    subset: str = "default"
    """The hub's own name for one configuration of the data set."""
    split: str = MISSING
    """Split to learn from, by the hub's name, without brackets: the slice is `data.take`."""
    eval_split: str = ""
    """Split to hold out; empty: `eval_fraction` of `split` is held out."""
    revision: str = "main"
    """Branch, tag or commit; a commit makes the run reproducible for good."""
    format: RowFormat = RowFormat.auto
    """How the rows spell a dialogue."""
    stream: bool = False
    """Read the rows while training, from the top, and write none: for data larger than the disk."""
    stream_eval_rows: int = 500
    """Rows held out of the beginning of the source when `stream` is on."""


@dataclass(kw_only=True, slots=True)
class Recommended:
    """Training values that suit a model; the `train` presets follow them unless the user sets their own."""

    learning_rate: float = 1e-5
    """Peak rate for training all weights."""
    lora_learning_rate: float = 2e-4
    """Peak rate for LoRA adapters."""
    dpo_learning_rate: float = 5e-6
    """Peak rate for preference training."""
    epochs: int = 3
    """Passes over the rows."""
    batch_size: int = 4
    """Rows of one optimiser step."""
    eval_batch_size: int = 4
    """Rows that are measured at once when the held-out loss is taken."""
    warmup_ratio: float = 0.1
    """Share of the steps during which the rate climbs."""
    weight_decay: float = 0.0
    """AdamW's."""
    adam_beta2: float = 0.999
    """AdamW's."""
    packing: bool = True
    """Fill rows with several dialogues."""
    log_steps: int = 20
    """Optimiser steps between two losses that are told."""
    save_steps: int = 500
    """Optimiser steps between checkpoints."""


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The model that training starts from."""

    kind: ClassVar[str] = ""
    path: str = ""
    """A local Hugging Face folder (weights, config, tokenizer with chat template) to start from instead."""
    recommended: Recommended = field(default_factory=Recommended)
    """Training values that suit this model."""


@dataclass(kw_only=True, slots=True)
class NanoModel(ModelConfig):
    """A small Phi-3-architecture model with random weights; its BPE tokenizer is trained on the data."""

    kind: ClassVar[str] = "nano"
    context: int = 4096
    """Longest dialogue the model can read, in tokens."""
    hidden_size: int = 256
    """Width of the model."""
    intermediate_size: int = 704
    """Width inside its feed-forward layers."""
    layers: int = 4
    """How many."""
    heads: int = 4
    """Attention heads of each layer; twice their number divides `hidden_size`."""
    vocab_size: int = 2048
    """Upper bound: a small data set yields fewer tokens."""


@dataclass(kw_only=True, slots=True)
class LocalModel(ModelConfig):
    """The model in the folder `path`; how much it can read stands in the folder's own config.json."""

    kind: ClassVar[str] = "local"


@dataclass(kw_only=True, slots=True)
class HubModel(ModelConfig):
    """A pretrained model of the Hugging Face hub."""

    kind: ClassVar[str] = "hub"
    context: int = 4096
    """Longest dialogue the model can read, in tokens."""
    repo: str = MISSING
    """Model id, `owner/name`."""
    revision: str = "main"
    """Branch, tag or commit; a commit makes the run reproducible for good."""
    trust_remote_code: bool = False
    """Run Python that comes with the weights. Off: transformers has native Phi classes, the remote ones break."""
