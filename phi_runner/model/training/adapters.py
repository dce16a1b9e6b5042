"""Which weights a method trains: all of them, or adapters on the linear layers, of a base in 32 or 4 bits."""

from importlib.util import find_spec
from typing import Any

from phi_runner.config.architectures import LINEAR_LAYERS
from phi_runner.config.methods import FOUR_BITS
from phi_runner.config.schema import DoraTrain, FullTrain, LoraTrain, QloraTrain, TrainConfig
from phi_runner.errors import ConfigProblem, TrainFailed

_HEAD = "lm_head"


def linear_layers(model: Any) -> list[str]:
    """Return the names that `train.targets` may have for this model, Phi-3's own order first."""
    found = {
        name.rpartition(".")[2]
        for name, part in model.named_modules()
        if type(part).__name__.startswith("Linear")  # bitsandbytes calls its own Linear4bit
    } - {_HEAD}
    return [name for name in LINEAR_LAYERS if name in found] + sorted(found - set(LINEAR_LAYERS))


def adapters(config: TrainConfig, model: Any) -> Any:
    """Return PEFT's settings for a method, or None when all weights are trained.

    Raises TrainFailed for targets that the model does not have.
    """
    match config:
        case FullTrain():
            return None
        case LoraTrain():
            from peft import LoraConfig

            check_targets(config, linear_layers(model))
            return LoraConfig(
                r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=config.targets,
                use_dora=isinstance(config, DoraTrain), task_type="CAUSAL_LM", bias="none",
            )  # fmt: skip
        case unknown:
            raise ConfigProblem(f"train={unknown.kind} cannot run here")


def check_targets(config: LoraTrain, layers: list[str]) -> None:
    """Raise TrainFailed when a target names none of the layers."""
    unknown = [name for name in config.targets if name not in layers]
    if unknown:
        raise TrainFailed(
            f"train.targets: this model has no layer {', '.join(unknown)}; it has {', '.join(layers)}: "
            f"type train.targets=[{','.join(layers)}]"
        )


def quantization(config: TrainConfig) -> Any:
    """Return how the base is kept in 4 bits, or None when it is not; raises TrainFailed where that cannot be done.

    Asked before the base is opened or downloaded.
    """
    if not isinstance(config, QloraTrain):
        return None
    import torch

    if not torch.cuda.is_available():
        raise TrainFailed("train=qlora keeps the base in 4 bits, and torch sees no CUDA device here: type train=lora")
    if find_spec(FOUR_BITS) is None:
        raise TrainFailed(f"train=qlora needs {FOUR_BITS}: type pip install {FOUR_BITS}, or train=lora")
    from transformers import BitsAndBytesConfig

    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=str(config.quantization),
        bnb_4bit_use_double_quant=config.double_quantization,
        bnb_4bit_compute_dtype=torch.bfloat16 if fast else torch.float16,
    )  # fmt: skip


def prepared(model: Any) -> Any:
    """Return a 4-bit base ready for adapters: what is not in 4 bits is frozen and in fp32; others as they are."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return model
    from peft import prepare_model_for_kbit_training

    # whether activations are computed again is train.gradient_checkpointing's to say, for every method alike
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
