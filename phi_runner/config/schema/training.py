"""How the model is trained, measured and recorded."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, ClassVar

from omegaconf import II


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


class Weights(StrEnum):
    """What the weights that the optimiser updates are kept in."""

    fp32 = auto()
    bf16 = auto()


class Speed(StrEnum):
    """Who chooses the settings below that are left at `auto`."""

    library = auto()
    """TRL's own way: its attention, its loss, its optimiser, micro-batches of `batch_size` rows."""
    auto = auto()  # last: from here on the class body sees this name instead of enum's


class Attention(StrEnum):
    """How attention is computed; eager attention is never chosen, it was the slowest everywhere."""

    varlen = auto()
    """One causal call of torch's SDPA a dialogue: nothing is computed between dialogues of a packed row."""
    sdpa = auto()
    flash = auto()
    """FlashAttention's kernels, CUDA only."""
    auto = auto()  # last: from here on the class body sees this name instead of enum's


class Loss(StrEnum):
    """How the cross entropy over the vocabulary is computed; all give the same number."""

    fused = auto()
    """Labelled positions only, piece by piece, gradients on the way: no logits are kept."""
    library = auto()
    """TRL's own fused head, made for CUDA."""
    auto = auto()  # last: from here on the class body sees this name instead of enum's


class Optimizer(StrEnum):
    """Which AdamW updates the weights."""

    adamw = auto()
    adamw_fused = auto()
    adamw_8bit = auto()
    """bitsandbytes' optimiser with 8-bit moments, CUDA only."""
    auto = auto()  # last: from here on the class body sees this name instead of enum's


class Choice(StrEnum):
    """Whether to do something."""

    always = auto()
    never = auto()
    auto = auto()  # last: from here on the class body sees this name instead of enum's


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Supervised fine-tuning with TRL; what is not set follows the model's recommendation."""

    kind: ClassVar[str] = ""
    learning_rate: float = II("model.recommended.learning_rate")
    """Peak rate, reached after warm-up."""
    epochs: int = II("model.recommended.epochs")
    """How often all rows are learnt from."""
    batch_size: int = II("model.recommended.batch_size")
    """Dialogues (packed rows when packing) per optimiser step, of all processes together, before accumulation."""
    eval_batch_size: int = II("model.recommended.eval_batch_size")
    """Rows that are measured at once when the held-out loss is taken."""
    accumulation_steps: int = 1
    """Micro-batches of `batch_size` rows that make one optimiser step."""
    scheduler: Scheduler = Scheduler.cosine
    """How the rate falls after warm-up."""
    warmup_ratio: float = II("model.recommended.warmup_ratio")
    """Share of the steps during which the rate climbs."""
    weight_decay: float = II("model.recommended.weight_decay")
    """AdamW's: the share of a weight that a step takes away, times the rate."""
    adam_beta2: float = II("model.recommended.adam_beta2")
    """How slowly AdamW forgets the squares of gradients; short runs want a smaller one."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    max_length: int = 2048
    """Longest training row in tokens (the tutorials' context); longer dialogues are cut between turns."""
    packing: bool = II("model.recommended.packing")
    """Fill rows with several dialogues; attention and positions stay inside each dialogue."""
    assistant_only_loss: bool = True
    """Learn the assistant's words only; false repeats the tutorials, which learn the prompts as well."""
    precision: Precision = Precision.auto
    """`auto`: bf16 autocast over fp32 weights where the hardware multiplies bf16 fast, else fp32."""
    weights: Weights = Weights.fp32
    """bf16 halves the memory, and at small rates most weights then never change (measured: 93 % at 5e-6)."""
    speed: Speed = Speed.auto
    """`auto`: the runner chooses what is left at `auto` below, and says why; `library` leaves it to TRL."""
    attention: Attention = Attention.auto
    """How attention is computed; none of the choices lets dialogues of a packed row see one another."""
    loss: Loss = Loss.auto
    """How the cross entropy over the vocabulary is computed; the number is the same."""
    optimizer: Optimizer = Optimizer.auto
    """Which AdamW; another optimiser of transformers by its name: `+train.extra.optim=adafactor`."""
    gradient_checkpointing: Choice = Choice.auto
    """Trade time for memory: activations are computed again in the backward pass. `auto`: only when memory needs it."""
    compile: Choice = Choice.auto
    """Compile the layers with torch.compile. `auto`: where it pays back within the run."""
    keep_memory: Choice = Choice.auto
    """Let glibc keep freed memory instead of returning it to the system at every step. `auto`: on processors."""
    micro_batch: int = 0
    """Rows that go through the model at once; 0: found by a short search. The step stays the same, whatever it is."""
    memory_gib: float = 0.0
    """Memory that training may use; 0: most of what is free when it starts."""
    resume_from: str = ""
    """Folder of a checkpoint to go on from, left by a training with the same settings and data."""
    log_steps: int = II("model.recommended.log_steps")
    """Optimiser steps between two losses that are told."""
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
    """Of the two matrices whose product is the adapter."""
    alpha: int = 32
    """Scale: the adapter's output is multiplied by alpha / rank."""
    dropout: float = 0.05
    """Share of an adapter's inputs that are dropped while training."""
    targets: list[str] = field(default_factory=lambda: ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
    """Linear layers that get an adapter; these four are all of Phi-3's."""


@dataclass(kw_only=True, slots=True)
class DoraTrain(LoraTrain):
    """LoRA with magnitude and direction apart: slower, often closer to training all weights (Liu et al. 2024)."""

    kind: ClassVar[str] = "dora"


class Quantization(StrEnum):
    """The 4-bit type in which a frozen base is kept."""

    nf4 = auto()
    fp4 = auto()


@dataclass(kw_only=True, slots=True)
class QloraTrain(LoraTrain):
    """LoRA on a base kept in 4 bits by bitsandbytes; CUDA only (Dettmers et al. 2023)."""

    kind: ClassVar[str] = "qlora"
    quantization: Quantization = Quantization.nf4
    """The 4-bit type; `nf4` suits weights that are normally distributed, as trained ones are."""
    double_quantization: bool = True
    """Quantize the quantization constants too: 0.4 bits a weight less."""


class PreferenceLoss(StrEnum):
    """What preference training minimises, by TRL's names."""

    sigmoid = auto()
    hinge = auto()
    ipo = auto()
    robust = auto()


@dataclass(kw_only=True, slots=True)
class DpoTrain(LoraTrain):
    """Direct preference optimisation on pairs of answers, a second step on a trained model (Rafailov et al. 2023)."""

    kind: ClassVar[str] = "dpo"
    learning_rate: float = II("model.recommended.dpo_learning_rate")
    """Peak rate; preferences need a lower one than the answers themselves did."""
    beta: float = 0.1
    """How strongly the model is held to what it was before: higher, closer."""
    preference_loss: PreferenceLoss = PreferenceLoss.sigmoid
    """What is minimised, by TRL's names; `sigmoid` is the paper's."""
    all_weights: bool = False
    """Train all weights, beside a second copy of the model as reference, instead of adapters."""


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
class TrackingConfig:
    """Where metrics and models are recorded."""

    uri: str = ""
    """Any MLflow tracking server; empty: a SQLite file under `outputs`."""
    experiment: str = "phi_runner"
    """MLflow experiment in which runs are kept."""
