"""Supervised fine-tuning with TRL: the one place where our config meets SFTConfig, SFTTrainer and LoraConfig."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config.schema import FullTrain, LoraTrain, Scheduler, TrainConfig
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model import checkpoints
from phi_runner.model.device import Device, out_of_memory
from phi_runner.model.tokens import TokenRows
from phi_runner.model.watch import MetricSink, Watch

_MOST_EVALUATIONS = 10
_CPU_TOKENS = 4096
"""Tokens of a micro-batch on a processor."""
_SCHEDULERS = {
    Scheduler.cosine: "cosine", Scheduler.linear: "linear", Scheduler.constant: "constant_with_warmup",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a finished training leaves besides the weights in `model`."""

    model: Any
    steps: int
    history: list[dict[str, float]]
    """The trainer's log lines, those before an interruption included."""

    def losses(self) -> list[float]:
        """Return the training losses in the order of their steps."""
        found = [line["loss"] for line in self.history if "loss" in line]
        return found or [line["train_loss"] for line in self.history if "train_loss" in line]


def _adapters(config: TrainConfig, model: Any) -> Any:
    """Return the LoRA settings of a config, or None; raises TrainFailed for targets that the model does not have."""
    match config:
        case FullTrain():
            return None
        case LoraTrain():
            from peft import LoraConfig

            linear = {
                name.rpartition(".")[2] for name, part in model.named_modules() if type(part).__name__ == "Linear"
            }
            unknown = sorted(set(config.targets) - linear)
            if unknown:
                have = ", ".join(sorted(linear - {"lm_head"}))
                raise TrainFailed(f"train.targets: this model has no layer {', '.join(unknown)}; it has {have}")
            return LoraConfig(
                r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
                target_modules=config.targets, task_type="CAUSAL_LM", bias="none",
            )  # fmt: skip
        case unknown_kind:
            raise ConfigProblem(f"train={unknown_kind.kind} cannot run here")


def _batches(config: TrainConfig, device: Device, *, lengths: list[int]) -> dict[str, int]:
    """Split an optimiser step into micro-batches; the step, its gradient and its loss stay the same.

    On a processor, packed rows go one at a time, because TRL lays a packed batch out as one long row whose dense mask
    grows with its square (measured: 8192 x 8192 for 4 rows of 2048). Other rows go in groups that stay near the caches:
    32 dialogues of 450 tokens took 22 s in groups of 8 instead of 67 s at once, and 2.6 GB instead of 7.2.
    """
    micro, evaluated = config.batch_size, config.eval_batch_size
    if device.cpu and config.packing:
        micro = evaluated = 1
    elif device.cpu:
        long = sorted(lengths)[int(0.9 * (len(lengths) - 1))]
        fitting = max(1, _CPU_TOKENS // long)
        micro = max(size for size in range(1, micro + 1) if micro % size == 0 and size <= fitting)
        evaluated = min(evaluated, fitting)
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": config.batch_size // micro * config.accumulation_steps,
        "per_device_eval_batch_size": evaluated,
    }


def _arguments(config: TrainConfig, *, device: Device, seed: int, folder: Path, lengths: list[int]) -> Any:
    from trl import SFTConfig

    ours: dict[str, Any] = {
        "output_dir": str(folder),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        **_batches(config, device, lengths=lengths),
        "lr_scheduler_type": _SCHEDULERS[config.scheduler],
        "warmup_steps": config.warmup_ratio,  # transformers 5 reads a float below 1 as a share of all steps
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "max_grad_norm": config.max_grad_norm,
        "max_length": config.max_length,
        "packing": config.packing,
        # Rows of like length share a batch: on short dialogues padding was two thirds of the work.
        "train_sampling_strategy": "random" if config.packing else "group_by_length",
        "bf16": device.bf16,
        "use_cpu": device.cpu,
        "activation_checkpointing": config.gradient_checkpointing,
        "logging_steps": config.log_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # on, it reports a lost training as a loss of 0
        "eval_strategy": "epoch" if config.epochs <= _MOST_EVALUATIONS else "steps",
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "seed": seed,
        "data_seed": seed,
        "report_to": "none",  # metrics go through Watch: the library's own reporter would import the tracker here
        "disable_tqdm": True,
    }
    return SFTConfig(**{**ours, **config.extra})


def _dataset(rows: TokenRows) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": rows.input_ids, "labels": rows.labels})


def fit(
    model: Any, tokenizer: Any, *, train_rows: TokenRows, eval_rows: TokenRows, config: TrainConfig, device: Device,
    seed: int, folder: Path, events: StageEvents, sink: MetricSink,
) -> Training:  # fmt: skip
    """Train on token rows, continuing from the newest checkpoint in `folder`; raises TrainFailed when it cannot."""
    from transformers import PrinterCallback

    from phi_runner.model.trainer import PhiTrainer

    lengths = [len(ids) for ids in train_rows.input_ids]
    arguments = _arguments(config, device=device, seed=seed, folder=folder, lengths=lengths)
    trainer = PhiTrainer(
        model=model, args=arguments, processing_class=tokenizer, train_dataset=_dataset(train_rows),
        eval_dataset=_dataset(eval_rows), peft_config=_adapters(config, model),
        callbacks=[Watch(events, sink=sink)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    if "eval_steps" not in config.extra:
        per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps
        per_epoch = math.ceil(len(trainer.train_dataset) / per_step)  # known only now: packing makes fewer rows
        arguments.eval_steps = per_epoch * math.ceil(config.epochs / _MOST_EVALUATIONS)
    checkpoint = checkpoints.newest(folder)
    if checkpoint:
        events.info(f"continues from step {checkpoint.name.rpartition('-')[2]}, the last checkpoint")
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (RuntimeError, MemoryError) as err:
        if out_of_memory(err):
            raise TrainFailed(
                f"out of memory with train.batch_size={config.batch_size}: halve it and double train.accumulation_steps"
            ) from err
        raise
    if not trainer.state.global_step:
        raise TrainFailed("no optimiser step was made: there are too few rows for train.batch_size")
    history = [
        {k: float(v) for k, v in line.items() if isinstance(v, int | float)} for line in trainer.state.log_history
    ]
    return Training(model=trainer.model, steps=trainer.state.global_step, history=history)
