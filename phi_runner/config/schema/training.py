"""How and where the model is trained, measured and recorded."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, ClassVar

from omegaconf import II, MISSING


class Scheduler(StrEnum):
    """How the learning rate falls after warm-up."""

    cosine = auto()
    linear = auto()
    constant = auto()


class Precision(StrEnum):
    """What the matrices are multiplied in; the weights that the optimiser updates are always fp32."""

    fp32 = auto()
    bf16 = auto()
    auto = auto()  # last: from here on the class body sees this name instead of enum's


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Supervised fine-tuning with TRL; what is not set follows the model's recommendation."""

    kind: ClassVar[str] = ""
    learning_rate: float = II("model.recommended.learning_rate")
    """Peak rate, reached after warm-up."""
    epochs: int = II("model.recommended.epochs")
    batch_size: int = II("model.recommended.batch_size")
    """Dialogues (packed rows when packing) per optimiser step and process, before accumulation."""
    eval_batch_size: int = II("model.recommended.eval_batch_size")
    accumulation_steps: int = 1
    """Micro-batches of `batch_size` rows that make one optimiser step."""
    scheduler: Scheduler = Scheduler.cosine
    warmup_ratio: float = II("model.recommended.warmup_ratio")
    """Share of the steps during which the rate climbs."""
    weight_decay: float = II("model.recommended.weight_decay")
    adam_beta2: float = II("model.recommended.adam_beta2")
    max_grad_norm: float = 1.0
    max_length: int = 2048
    """Longest training row in tokens (the tutorials' context); longer dialogues are cut between turns."""
    packing: bool = II("model.recommended.packing")
    """Fill rows with several dialogues; attention and positions stay inside each dialogue."""
    assistant_only_loss: bool = True
    """Learn the assistant's words only; false repeats the tutorials, which learn the prompts as well."""
    precision: Precision = Precision.auto
    """`auto`: bf16 autocast over fp32 weights where the hardware multiplies bf16 fast, else fp32."""
    gradient_checkpointing: bool = False
    """Trade time for memory: activations are computed again in the backward pass."""
    log_steps: int = II("model.recommended.log_steps")
    save_steps: int = II("model.recommended.save_steps")
    """Optimiser steps between checkpoints; a killed run continues from the last one."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other argument of TRL's SFTConfig by its own name: `+train.extra.neftune_noise_alpha=5`."""


@dataclass(kw_only=True, slots=True)
class FullTrain(TrainConfig):
    """All weights are trained."""

    kind: ClassVar[str] = "full"


@dataclass(kw_only=True, slots=True)
class LoraTrain(TrainConfig):
    """Low-rank adapters are trained, the base stays as it is (Hu et al. 2021)."""

    kind: ClassVar[str] = "lora"
    learning_rate: float = II("model.recommended.lora_learning_rate")
    """Peak rate, reached after warm-up; adapters need a higher one than all weights do."""
    rank: int = 16
    alpha: int = 32
    """Scale: the adapter's output is multiplied by alpha / rank."""
    dropout: float = 0.05
    targets: list[str] = field(default_factory=lambda: ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
    """Linear layers that get an adapter; these four are all of Phi-3's."""


@dataclass(kw_only=True, slots=True)
class CatalogTrain(TrainConfig):
    """The model catalog's chat-completion fine-tune, run by Azure (the Foundry tutorial's)."""

    kind: ClassVar[str] = "azure_catalog"
    model_uri: str = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/labels/latest"
    """What is fine-tuned; a version instead of the label makes the run reproducible."""
    instance_types: list[str] = field(default_factory=lambda: ["Standard_NC24ads_A100_v4"])
    """Sizes that the job may run on; empty: pay per token where the model offers it."""
    hyperparameters: dict[str, str] = field(default_factory=dict)
    """Any other of the fine-tune's settings by its own name, beside learning rate, scheduler, epochs and batch."""


@dataclass(kw_only=True, slots=True)
class ComputeConfig:
    """Where training and evaluation run."""

    kind: ClassVar[str] = ""


@dataclass(kw_only=True, slots=True)
class CpuCompute(ComputeConfig):
    """This machine's processor."""

    kind: ClassVar[str] = "cpu"
    threads: int = 0
    """Threads for matrix work; 0: as many as there are cores."""


@dataclass(kw_only=True, slots=True)
class GpuCompute(ComputeConfig):
    """One CUDA device of this machine."""

    kind: ClassVar[str] = "gpu"
    device: int = 0
    """CUDA device number."""


@dataclass(kw_only=True, slots=True)
class AzureCompute(ComputeConfig):
    """A cluster of the Azure workspace: `train` and `evaluate` run there as command jobs."""

    kind: ClassVar[str] = "azure"
    cluster: str = MISSING
    """Name of the compute cluster; made when it is missing."""
    vm_size: str = MISSING
    """Azure's name for the size of a node."""
    image: str = MISSING
    """Docker image below the generated conda environment."""
    gpu: bool = False
    """Compute on the node's CUDA devices."""
    environment: str = "phi-3-training-environment"
    """Name of the job's environment (the tutorials')."""
    min_nodes: int = 0
    """Nodes that always run and bill (the tutorials' 0)."""
    max_nodes: int = 1
    """Nodes that may run at a time."""
    idle_s: int = 120
    """Idle time after which a node is given back (the tutorials')."""
    low_priority: bool = False
    """Cheaper nodes that may be taken away; the job then starts again and continues from its checkpoint."""


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    """How the model is measured before and after."""

    prompts: int = 64
    """Held-out prompts answered by both models; 0: loss only."""
    max_new_tokens: int = 64
    batch_size: int = 32


@dataclass(kw_only=True, slots=True)
class RegisterConfig:
    """The model's entry in the registry."""

    name: str = "finetune-phi-model"
    """Registered name (the tutorials')."""
    alias: str = "champion"
    """Alias that is moved to the new version."""


@dataclass(kw_only=True, slots=True)
class TrackingConfig:
    """Where metrics and models are recorded."""

    uri: str = ""
    """Any MLflow tracking server; empty: a SQLite file under `outputs`."""
    experiment: str = "phi_runner"
