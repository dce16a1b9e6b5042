"""How many rows go through the model at once: what memory allows, and of that what is fastest.

An optimiser step keeps its rows, its gradient and its loss, but for rounding; only how they are gathered changes.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

from phi_runner.config.schema import Choice, Speed, TrainConfig
from phi_runner.errors import TrainFailed
from phi_runner.events import StageEvents
from phi_runner.model.device import Device
from phi_runner.model.training import retry, speed, together
from phi_runner.model.training.room import divisors

_WORTH_S = 600.0
"""A shorter run takes the rule's size: a search would not pay back, and the same command gives the same bits."""
_SEARCH_SHARE = 0.02
"""Of the run's length that the search may take."""
_BETTER = 0.95
"""Another size must take less than this share of the time: what is closer is noise."""
_RECORD = "micro_batch.json"


def settle(
    trainer: Any, *, config: TrainConfig, fitting: int, folder: Path, device: Device, events: StageEvents
) -> None:
    """Set the trainer to the fastest size, and compile its layers where that pays back.

    What an interrupted training had chosen stays: its bits depend on it.
    """
    found = together.decided(lambda: _recorded(folder))
    if found is None:
        found = together.decided(lambda: _Search(trainer, config=config, device=device, events=events).best(fitting))
        if together.first():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _RECORD).write_text(json.dumps(found), encoding="utf-8")
    size, compiled = found
    if size != trainer.args.per_device_train_batch_size:
        retry.divide(trainer, size)
    if compiled:
        _compile(trainer, on=True)


def _recorded(folder: Path) -> tuple[int, bool] | None:
    try:
        size, compiled = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(size), bool(compiled)


def _compile(trainer: Any, *, on: bool) -> None:
    """Compile every layer alone: they are alike, so the compiler's work is done once."""
    from phi_runner.model.training import attention

    attention.keep_from_compiler()
    for layer in trainer.core.base_model.layers:
        if on:
            layer.compile(dynamic=True)
        else:
            layer._compiled_call_impl = None


def _checkpoint_activations(trainer: Any) -> None:
    """Compute activations again from now on where training will: it begins to when it starts.

    Timed without, a micro-batch would be slower in training than it looked, and might take more memory than there is.
    """
    if not trainer.args.activation_checkpointing:
        return
    wanted = dict(trainer.args.activation_checkpointing_kwargs or {})
    every, offload = wanted.pop("every_n_layers", 1), wanted.pop("offload", False)
    trainer.model.activation_checkpointing_enable(
        activation_checkpointing_kwargs=wanted or None, every_n_layers=every, offload=offload
    )


class _Search:
    """Times forward and backward passes of a trainer that has not begun; weights and random states stay."""

    def __init__(self, trainer: Any, *, config: TrainConfig, device: Device, events: StageEvents) -> None:
        self._trainer, self._config, self._device, self._events = trainer, config, device, events
        self._begun = time.perf_counter()

    def best(self, fitting: int) -> tuple[int, bool]:
        """Return the best size up to `fitting`, and whether to compile."""
        args, config = self._trainer.args, self._config
        size, always = args.per_device_train_batch_size, config.compile is Choice.always
        if always and (lacks := speed.compiler_missing()):
            raise TrainFailed(f"train.compile=always: {lacks}; install one, or type train.compile=never")
        if not hasattr(self._trainer.train_dataset, "__len__"):  # its first row is read once, when training asks for it
            return size, always
        step = size * args.gradient_accumulation_steps
        steps = args.max_steps if args.max_steps > 0 else math.inf
        rows = min(len(self._trainer.train_dataset) * args.num_train_epochs / args.world_size, steps * step)
        # the loss gathers from all processes, and a clock makes each of them search otherwise
        library = config.speed is Speed.library or together.several()
        if library or (config.micro_batch and config.compile is not Choice.auto):
            return size, always
        _checkpoint_activations(self._trainer)
        per_row = self._per_row(size, most_s=_WORTH_S)
        run_s = per_row * rows
        if run_s < _WORTH_S:
            self._say("micro_batch", size, f"the run will take about {_minutes(run_s)}, too short to search")
            return size, always
        if not config.micro_batch:
            size, per_row = self._fastest(step, size, per_row, fitting=fitting, until_s=_SEARCH_SHARE * run_s)
        if config.compile is not Choice.auto:
            return size, always
        return size, self._compiling_pays(size, per_row, run_s=per_row * rows)

    def _fastest(self, step: int, size: int, per_row: float, *, fitting: int, until_s: float) -> tuple[int, float]:
        told = {size: per_row}
        sizes = [other for other in divisors(step) if other <= fitting]
        place = sizes.index(size)
        # On a processor a larger one was never faster, and its memory would stay taken.
        larger = [] if self._device.cpu else sizes[place + 1 : place + 3]
        for other in [*larger, *sizes[max(0, place - 1) : place]]:
            if time.perf_counter() - self._begun > until_s:
                break
            told[other] = self._per_row(other, most_s=until_s)
        quickest = min(told, key=lambda other: told[other])
        chosen = quickest if told[quickest] < _BETTER * per_row else size
        shown = ", ".join(f"{other}: {1000 * seconds:.0f} ms" for other, seconds in sorted(told.items()))
        self._say("micro_batch", chosen, f"a row takes, by rows at once, {shown}")
        return chosen, told[chosen]

    def _compiling_pays(self, size: int, per_row: float, *, run_s: float) -> bool:
        """Compile, time it, and keep it if what it saves in the whole run is more than what it took."""
        slow = "in fp32 on a processor it was slower" if self._device.cpu and not self._device.bf16 else ""
        if why := slow or speed.compiler_missing():
            self._say("compile", Choice.never, why)
            return False
        begun = time.perf_counter()
        _compile(self._trainer, on=True)
        self._per_row(size, most_s=_WORTH_S)
        took = time.perf_counter() - begun
        share = self._per_row(size, most_s=_WORTH_S) / per_row
        pays = (1 - share) * run_s > took and share < _BETTER
        _compile(self._trainer, on=pays)
        why = f"{took:.0f} s of compiling, then {share:.2f} of the time, in a run of about {_minutes(run_s)}"
        self._say("compile", Choice.always if pays else Choice.never, why)
        return pays

    def _say(self, name: str, value: object, why: str) -> None:
        self._events.info(f"train.{name}={value}: {why}")

    def _per_row(self, size: int, *, most_s: float) -> float:
        """Return the seconds that a row takes in micro-batches of `size`, the better of two unless that takes long."""
        rows = self._trainer.train_dataset
        batch = self._trainer.data_collator([rows[place % len(rows)] for place in range(size)])
        batch = {name: value.to(self._device.name) if hasattr(value, "to") else value for name, value in batch.items()}
        first = self._once(batch)
        return (first if first > most_s / 10 else min(first, self._once(batch))) / size

    def _once(self, batch: dict[str, Any]) -> float:
        import torch

        trainer, model = self._trainer, self._trainer.model
        counted, metrics = trainer._total_train_tokens, {mode: dict(kept) for mode, kept in trainer._metrics.items()}
        kind = torch.device(self._device.name).type
        model.train()
        with torch.random.fork_rng(), torch.autocast(kind, dtype=torch.bfloat16, enabled=self._device.bf16):
            begun = _now(kind)
            trainer.compute_loss(model, dict(batch)).backward()
            took = _now(kind) - begun
        model.zero_grad(set_to_none=True)
        trainer._total_train_tokens = counted
        for mode, kept in metrics.items():
            trainer._metrics[mode].clear()
            trainer._metrics[mode].update(kept)
        return took


def _now(kind: str) -> float:
    if kind == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
