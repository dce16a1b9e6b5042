"""The model catalog's chat-completion fine-tune: Azure trains a catalog model on our rows and registers the outcome."""

import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner import __version__
from phi_runner.artifacts import Dataset, TrainedModel
from phi_runner.config.schema import CatalogTrain, RunConfig, Scheduler
from phi_runner.errors import ConfigProblem

if TYPE_CHECKING:
    from azure.ai.ml.entities import Job

REGISTERED_MODEL = "registered_model"
"""The fine-tune's one output, by the service's name for it."""
_SCHEDULERS = {
    Scheduler.cosine: "cosine", Scheduler.linear: "linear", Scheduler.constant: "constant_with_warmup",
}  # fmt: skip


def _settings(config: RunConfig) -> CatalogTrain:
    if not isinstance(config.train, CatalogTrain):
        raise TypeError(f"train={config.train.kind} is not the catalog's fine-tune")
    return config.train


def hyperparameters(train: CatalogTrain, *, rows: int, seed: int) -> dict[str, str]:
    """Return the fine-tune's settings under the names of the catalog's chat-completion pipeline, as texts.

    It knows warm-up as a number of steps: those of one GPU, as `rows` dialogues make them.
    """
    steps = math.ceil(rows / (train.batch_size * train.accumulation_steps)) * train.epochs
    ours: dict[str, str | float] = {
        "num_train_epochs": train.epochs,
        "per_device_train_batch_size": train.batch_size,
        "per_device_eval_batch_size": train.eval_batch_size,
        "gradient_accumulation_steps": train.accumulation_steps,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": _SCHEDULERS[train.scheduler],
        "warmup_steps": math.ceil(steps * train.warmup_ratio),
        "weight_decay": train.weight_decay,
        "adam_beta2": train.adam_beta2,
        "max_grad_norm": train.max_grad_norm,
        "max_seq_length": train.max_length,
        "seed": seed,
    }
    return {name: _text(value) for name, value in ours.items()} | train.hyperparameters


def _text(value: str | float) -> str:
    """Return a number as the published examples write it: 0.000005, not 5e-06."""
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)


def job(config: RunConfig, dataset: Dataset, *, name: str) -> "Job":
    """Return the fine-tuning job on a dataset's JSONL files: one object with `messages` a line."""
    from azure.ai.ml.finetuning import create_finetuning_job

    train = _settings(config)
    if not dataset.test_rows:  # without held-out rows azure-ai-ml 1.35 fails with an UnboundLocalError
        raise ConfigProblem("train=azure_catalog needs held-out rows: type data.eval_fraction=0.2")
    made: Job = create_finetuning_job(
        task="chatCompletion", model=train.model_uri, training_data=str(dataset.train_jsonl),
        validation_data=str(dataset.test_jsonl), instance_types=train.instance_types or None,
        hyperparameters=hyperparameters(train, rows=dataset.train_rows, seed=config.seed),
        output_model_name_prefix=config.register.name,
        name=name, display_name=f"fine-tune {name}", experiment_name=config.tracking.experiment,
        tags={"phi_runner.stage": "train", "phi_runner.version": __version__},
    )  # fmt: skip
    return made


def result(config: RunConfig, dataset: Dataset, *, folder: Path, job: str) -> TrainedModel:
    """Return what is known of a model that never leaves Azure: its job, its output, its data."""
    train = _settings(config)
    return TrainedModel(
        folder=folder, base=train.model_uri, revision="", trust_remote_code=False, adapter=False,
        max_length=train.max_length, parameters=0, steps=0, loss_first=math.nan, loss_last=math.nan, template_hash="",
        data_hash=dataset.content_hash, tracking_run="", job=job, job_output=REGISTERED_MODEL, in_cloud=True,
    )  # fmt: skip
