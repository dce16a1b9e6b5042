"""Preference training with TRL: the one place where our config meets DPOConfig and DPOTrainer."""

import copy
import math
import warnings
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from phi_runner.config.resuming import Settings
from phi_runner.config.schema import Choice, DpoTrain, PreferenceLoss
from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model.device import Device
from phi_runner.model.pairs import TokenPairs
from phi_runner.model.training import arguments, guarded, speed, spread
from phi_runner.model.training.adapters import adapters
from phi_runner.model.training.fit import Training
from phi_runner.model.training.room import rule
from phi_runner.model.training.saving import AtomicSaving
from phi_runner.model.training.watch import Judge, MetricSink, Watch, never

_FLIPPED = 0.1
"""Share of labels that the robust loss takes to be wrong, as its paper does; at 0 it is the sigmoid loss."""


class PairTrainer(AtomicSaving, DPOTrainer):  # type: ignore[misc]  # TRL is not typed
    """Trains as TRL does, on rows that are tokens already; loses nothing."""

    def _prepare_dataset(self, dataset: Any, *_arguments: Any, **_more: Any) -> Any:
        return dataset

    def create_model_card(self, *_arguments: Any, **_more: Any) -> None:
        """Write none into a checkpoint: it is not handed on."""


def _batches(config: DpoTrain, device: Device, *, lengths: list[int]) -> dict[str, int]:
    """Split an optimiser step into micro-batches of pairs; a pair is two rows, and the step stays the same."""
    mine = spread.rows_each(config)
    long = sorted(lengths)[int(0.9 * (len(lengths) - 1))]
    micro = rule(config, cpu=device.cpu, rows=mine, row_tokens=2 * long, fitting=mine)
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": mine // micro,
        "per_device_eval_batch_size": min(config.eval_batch_size, micro) if device.cpu else config.eval_batch_size,
    }


def _arguments(config: DpoTrain, *, device: Device, seed: int, folder: Path, lengths: list[int]) -> Any:
    steps = math.ceil(len(lengths) / (config.batch_size * config.accumulation_steps))
    ours = arguments.shared(config, device=device, seed=seed, folder=folder) | {
        **_batches(config, device, lengths=lengths),
        "beta": config.beta,
        "loss_type": [str(config.preference_loss)],
        "label_smoothing": _FLIPPED if config.preference_loss is PreferenceLoss.robust else 0.0,
        "max_length": config.max_length,
        "activation_checkpointing": _checkpoints_activations(config, device),
        "eval_steps": steps * math.ceil(config.epochs / arguments.MOST_EVALUATIONS),
        "optim": speed.optimizer(config, device=device),
    }
    return DPOConfig(**{**ours, **config.extra})


def _checkpoints_activations(config: DpoTrain, device: Device) -> bool:
    """Say whether activations are computed again: left alone, on a GPU, as TRL does; a step holds twice the rows."""
    match config.gradient_checkpointing:
        case Choice.always:
            return True
        case Choice.never:
            return False
        case Choice.auto:
            return not device.cpu


def _dataset(pairs: TokenPairs) -> Any:
    columns = {"prompt_ids": pairs.prompt_ids, "chosen_ids": pairs.chosen_ids, "rejected_ids": pairs.rejected_ids}
    return Dataset.from_dict(columns)


def _trainer(
    model: Any, tokenizer: Any, *, train_pairs: TokenPairs, eval_pairs: TokenPairs, config: DpoTrain, arguments: Any,
    callback: Watch,
) -> PairTrainer:  # fmt: skip
    """Return the trainer; its reference is the model without the adapter, or a copy where all weights change."""
    reference = None
    if config.all_weights and not arguments.precompute_ref_log_probs:
        reference = copy.deepcopy(model)
    trainer = PairTrainer(
        model=model, ref_model=reference, args=arguments, processing_class=tokenizer,
        train_dataset=_dataset(train_pairs), eval_dataset=_dataset(eval_pairs),
        peft_config=None if config.all_weights else adapters(config, model), callbacks=[callback],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def fit(
    model: Any, tokenizer: Any, *, train_pairs: TokenPairs, eval_pairs: TokenPairs, config: DpoTrain, device: Device,
    seed: int, folder: Path, events: StageEvents, sink: MetricSink, settings: Settings, judge: Judge = never,
) -> Training:  # fmt: skip
    """Train on pairs, continuing from the newest checkpoint in `folder`; raises TrainFailed when it cannot."""
    told = _arguments(config, device=device, seed=seed, folder=folder, lengths=train_pairs.lengths())
    reference = "a second copy of the model" if config.all_weights else "the model without its adapter"
    events.info(f"learns to prefer: {config.preference_loss} loss, beta {config.beta:g}, against {reference}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # TRL and PEFT ask by it
        trainer = _trainer(
            model, tokenizer, train_pairs=train_pairs, eval_pairs=eval_pairs, config=config, arguments=told,
            callback=Watch(events, sink=sink, judge=judge),
        )  # fmt: skip
        guarded.train(
            trainer, settings=settings, rows=train_pairs.dialogues(), resume_from=config.resume_from, folder=folder,
            events=events,
        )  # fmt: skip
    if not trainer.state.global_step:
        raise TrainFailed("no optimiser step was made: there are too few pairs for train.batch_size")
    training = Training.of(trainer)
    _tell(training.history, events)
    return training


def _tell(history: list[dict[str, float]], events: StageEvents) -> None:
    """Say how often, and by how much, the chosen answers of held-out pairs gained more than the others."""
    measured = [line for line in history if "eval_rewards/accuracies" in line]
    if measured:
        share, margin = measured[-1]["eval_rewards/accuracies"], measured[-1]["eval_rewards/margins"]
        events.info(f"held-out pairs: the chosen answer gained more in {share:.0%}, margin {margin:.3f}", margin=margin)
