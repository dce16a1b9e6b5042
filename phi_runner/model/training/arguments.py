"""Our training config in the words of TRL: the part that fine-tuning and preference training share."""

from pathlib import Path
from typing import Any

from phi_runner.config.schema import Scheduler, TrainConfig
from phi_runner.model.device import Device
from phi_runner.model.training import spread

MOST_EVALUATIONS = 10
_SCHEDULERS = {
    Scheduler.cosine: "cosine", Scheduler.linear: "linear", Scheduler.constant: "constant_with_warmup",
}  # fmt: skip


def shared(config: TrainConfig, *, device: Device, seed: int, folder: Path) -> dict[str, Any]:
    """Return what every trainer of TRL is told, by its own names; `train.extra` comes last and is the caller's."""
    return {
        "output_dir": str(folder),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "lr_scheduler_type": _SCHEDULERS[config.scheduler],
        "warmup_steps": config.warmup_ratio,  # transformers 5 reads a float below 1 as a share of all steps
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "max_grad_norm": config.max_grad_norm,
        "bf16": device.bf16,
        "use_cpu": device.cpu,
        "logging_steps": config.log_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # on, it reports a lost training as a loss of 0
        "eval_strategy": "steps",  # by "epoch", a stop at an epoch's end would lose its line
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "seed": seed,
        "data_seed": seed,
        "report_to": "none",  # metrics go through Watch: the library's own reporter would import the tracker here
        "disable_tqdm": True,
        **spread.arguments(device, layers=["Phi3DecoderLayer"]),
    }
