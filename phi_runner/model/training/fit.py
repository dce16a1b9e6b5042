"""Supervised fine-tuning with TRL: the one place where our config meets SFTConfig and SFTTrainer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi_runner.config.resuming import Settings
from phi_runner.config.schema import Choice, LoraTrain, Speed, Strategy, TrainConfig
from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model import tokens
from phi_runner.model.device import Device
from phi_runner.model.tokens import Stream, TokenRows
from phi_runner.model.training import allocator, arguments, guarded, memory, micro, speed, spread, together, weights
from phi_runner.model.training.adapters import adapters, prepared
from phi_runner.model.training.room import Room, rule, what_fits
from phi_runner.model.training.speed import Chosen
from phi_runner.model.training.watch import Judge, MetricSink, Watch, never
from phi_runner.rank import Rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a finished training leaves besides the weights in `model`."""

    model: Any
    steps: int
    history: list[dict[str, float]]
    """The trainer's log lines, those before an interruption included."""
    weights: dict[str, Any] | None = None
    """All weights by name where `model` holds only this process's share of them."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What it took: time, tokens, memory, settings (see meter.py)."""

    @classmethod
    def of(cls, trainer: Any) -> "Training":
        """Return what a trainer has done; of several processes each has to ask."""
        history = [
            {k: float(v) for k, v in line.items() if isinstance(v, int | float)} for line in trainer.state.log_history
        ]
        return cls(
            model=trainer.model, steps=trainer.state.global_step, history=history,
            weights=spread.whole_weights(trainer), measured=trainer.measured,
        )  # fmt: skip

    def losses(self) -> list[float]:
        """Return the training losses in the order of their steps."""
        found = [line["loss"] for line in self.history if "loss" in line]
        return found or [line["train_loss"] for line in self.history if "train_loss" in line]


def fit(
    model: Any, tokenizer: Any, *, train_rows: TokenRows | Stream, eval_rows: TokenRows, config: TrainConfig,
    device: Device, seed: int, folder: Path, events: StageEvents, sink: MetricSink, settings: Settings,
    judge: Judge = never,
) -> Training:  # fmt: skip
    """Train on token rows, continuing from the newest checkpoint in `folder`; raises TrainFailed when it cannot.

    Of a stream nobody knows the length: `train.extra.max_steps` ends it, and the held-out rows stand for its own.
    """
    streamed = isinstance(train_rows, Stream)
    chosen = speed.choose(config, device=device, model=model)
    for setting in chosen.said:
        events.info(str(setting))
    if chosen.keep_memory:
        allocator.keep_freed()
    model.set_attn_implementation(chosen.attention)
    config = _one_at_a_time(model, config, longest=_longest(train_rows), events=events)
    weights.cast(model, config, warn=events.warn)
    learnt, measured = (_rows(rows, config) for rows in (train_rows, eval_rows))
    if not streamed:
        _check_steps(learnt, config)
    row_tokens = config.max_length if config.packing else _longest(train_rows)
    room = _room(model, config, device=device, row_tokens=row_tokens, events=events)
    lengths = _lengths(measured, eval_rows) if isinstance(train_rows, Stream) else _lengths(learnt, train_rows)
    told = _arguments(
        config, chosen, room, device=device, seed=seed, folder=folder, lengths=lengths, streamed=streamed
    )  # fmt: skip
    trainer = _trainer(model, tokenizer, told, config, chosen, learnt=learnt, measured=measured, device=device)
    trainer.lengths = lengths
    trainer.add_callback(Watch(events, sink=sink, judge=judge))
    micro.settle(trainer, config=config, fitting=room.rows, folder=folder, device=device, events=events)
    guarded.train(
        trainer, settings=settings, rows=() if isinstance(train_rows, Stream) else train_rows.input_ids,
        resume_from=config.resume_from, folder=folder, events=events,
    )  # fmt: skip
    return Training.of(trainer)


def _one_at_a_time(model: Any, config: TrainConfig, *, longest: int, events: StageEvents) -> TrainConfig:
    """Keep dialogues apart where a long one would change how positions are read in all that share its row.

    Long-context Phi-3 (`longrope`) takes other factors for a whole row as soon as one position in it lies beyond the
    original context (transformers' `longrope_frequency_update`).
    """
    shape = model.config
    rope = getattr(shape, "rope_parameters", None) or {}
    original = rope.get("original_max_position_embeddings") or getattr(shape, "original_max_position_embeddings", None)
    if rope.get("rope_type") != "longrope" or not original or longest <= original:
        return config
    events.info(
        f"dialogues go through the model one at a time: the longest has {longest} tokens, and beyond {original} this "
        "model reads the positions of a whole row in another way"
    )
    return replace(config, packing=False, micro_batch=1, eval_batch_size=1)


def _rows(rows: TokenRows | Stream, config: TrainConfig) -> Any:
    if isinstance(rows, Stream):
        return rows.rows(packed=config.packing)
    return tokens.pack(rows, max_length=config.max_length) if config.packing else rows.dataset


def _lengths(learnt: Any, rows: TokenRows) -> list[int]:
    """Return the tokens of each row that is trained on."""
    if len(learnt) == len(rows.lengths) and "seq_lengths" not in learnt.column_names:
        return [int(length) for length in rows.lengths]
    return [sum(lengths) for lengths in learnt["seq_lengths"]]


def _longest(rows: TokenRows | Stream) -> int:
    """Return the tokens of the longest dialogue; of a stream, those that it may have."""
    return rows.max_length if isinstance(rows, Stream) else int(rows.lengths.max())


def _check_steps(learnt: Any, config: TrainConfig) -> None:
    """Raise TrainFailed for data that make no single step of the size that is asked for."""
    rows, wanted = len(learnt), config.batch_size * config.accumulation_steps
    if rows < wanted and config.packing:
        raise TrainFailed(
            f"the data pack to {rows} rows of {config.max_length} tokens, less than one step of {wanted}: type "
            f"train.batch_size={max(1, rows)} train.accumulation_steps=1, train.packing=false, or take more rows"
        )


def _room(model: Any, config: TrainConfig, *, device: Device, row_tokens: int, events: StageEvents) -> Room:
    """Measure what fits into memory and say whether activations are computed again for it."""
    rows = spread.rows_each(config)
    if config.speed is Speed.library or (not Rank.here().alone and device.strategy is not Strategy.ddp):
        again = config.gradient_checkpointing is Choice.always
        return Room(rows=rows, checkpointed=again, why="left to the library")
    if not device.cpu:
        model.to(device.name)

    def measured() -> Room:
        free = memory.free_bytes(device, limit_gib=config.memory_gib)
        if device.cpu and not config.memory_gib:
            free //= Rank.here().local_world
        need = memory.need(model, device=device, adapters=adapters(config, model))
        return what_fits(config, need=need, rows=rows, free=free, row_tokens=row_tokens)

    found = together.decided(measured)  # what is free differs from moment to moment, and all must divide alike
    value = Choice.always if found.checkpointed else Choice.never
    events.info(f"train.gradient_checkpointing={value}: {found.why}")
    return found


def _arguments(
    config: TrainConfig, chosen: Chosen, room: Room, *, device: Device, seed: int, folder: Path,
    lengths: list[int], streamed: bool,
) -> Any:  # fmt: skip
    from trl import SFTConfig

    mine, end_to_end = spread.rows_each(config), chosen.end_to_end or config.packing
    long = sorted(lengths)[int(0.9 * (len(lengths) - 1))]
    size = rule(config, cpu=device.cpu, rows=mine, row_tokens=long, fitting=room.rows)
    steps_per_epoch = math.ceil(len(lengths) / (config.batch_size * config.accumulation_steps))
    ours = arguments.shared(config, device=device, seed=seed, folder=folder) | {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": mine // size,
        "per_device_eval_batch_size": max(1, min(config.eval_batch_size, room.rows, 2 * size)),
        "eval_steps": steps_per_epoch * math.ceil(config.epochs / arguments.MOST_EVALUATIONS),
        "activation_checkpointing": room.checkpointed,
        "optim": chosen.optimizer,
        # Rows are packed and cut already, and lie end to end in a micro-batch where the attention can tell them apart.
        "max_length": None,
        "packing": False,
        "padding_free": end_to_end,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "train_sampling_strategy": "random" if end_to_end else "group_by_length",
    }
    if streamed:  # an epoch that never ends
        every = math.ceil(config.extra["max_steps"] / arguments.MOST_EVALUATIONS)
        ours |= {"eval_strategy": "steps", "eval_steps": every, "train_sampling_strategy": "random"}
    return SFTConfig(**{**ours, **config.extra})


def _trainer(
    model: Any, tokenizer: Any, told: Any, config: TrainConfig, chosen: Chosen, *, learnt: Any, measured: Any,
    device: Device,
) -> Any:  # fmt: skip
    from transformers import PrinterCallback

    from phi_runner.model.training import loss
    from phi_runner.model.training.trainer import PhiTrainer

    spread.let_processors_shard(device)
    trainer = PhiTrainer(
        model=prepared(model), args=told, processing_class=tokenizer, train_dataset=learnt, eval_dataset=measured,
        peft_config=adapters(config, model) if isinstance(config, LoraTrain) else None,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    if chosen.fused_loss:
        loss.install(trainer.core)
        trainer.sums_loss = True
    return trainer
