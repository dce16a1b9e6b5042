"""What a training took, measured while it ran: time, tokens, memory, and the settings that it ran with."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from phi_runner import machine
from phi_runner.model.tokens import IGNORED
from phi_runner.rank import Rank

_PROCESS = Path("/proc/self")
_SHAPE = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
_SOME_ROWS = 256
_FORGET_THE_PEAK = "5"
"""Written to `clear_refs` it sets the kernel's mark of the largest resident set to what is resident now."""


class Meter(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Times a trainer's loop, and inside it the optimiser steps without evaluation and saving."""

    def __init__(self) -> None:
        self.loop_s = 0.0
        self.steps_s = 0.0
        self.steps = 0
        self._loop_at = self._step_at = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any
    ) -> None:
        """Start the loop's clock, again for each attempt of a training whose memory ran out."""
        self._loop_at = time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any
    ) -> None:
        """Start a step's clock."""
        self._step_at = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Add a step."""
        self.steps_s += time.perf_counter() - self._step_at
        self.steps += 1

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_more: Any) -> None:
        """Add the loop, evaluation and saving included."""
        self.loop_s += time.perf_counter() - self._loop_at

    def told(self, trainer: Any) -> dict[str, Any]:
        """Return what was measured, as JSON can hold it; `steps` are those of this process, after an interruption."""
        rows, learnt = trainer.train_dataset, trainer.state.global_step
        here = _seen(trainer) * self.steps / learnt if learnt else 0.0
        return {
            "machine": machine.here().told(), "steps": self.steps, "tokens": round(here), "of_steps": learnt,
            "epochs": round(float(trainer.state.epoch or 0.0), 4),
            "supervised_share": _supervised(rows), "loop_s": round(self.loop_s, 3), "steps_s": round(self.steps_s, 3),
            "tokens_per_s": round(here / self.steps_s, 2) if self.steps_s else 0.0,
            "peak_bytes": peak_bytes(), "peak_cuda_bytes": _peak_cuda_bytes(), "settings": _settings(trainer),
        }  # fmt: skip


def _seen(trainer: Any) -> float:
    """Return the tokens that were learnt from, padding left out; of pairs, those of both answers."""
    counted = int(getattr(trainer, "_total_train_tokens", 0))
    rows = trainer.train_dataset
    if counted or "chosen_ids" not in (getattr(rows, "column_names", None) or ()):
        return float(counted)
    both = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    return both * float(trainer.state.epoch or 0.0)


def forget_peak() -> None:
    """Begin to measure the peak anew, where the kernel can; else it is the process's since its start."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text(_FORGET_THE_PEAK, encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    """Return the largest resident set of this process since `forget_peak`."""
    try:
        lines = (_PROCESS / "status").read_text(encoding="ascii", errors="ignore").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_cuda_bytes() -> int:
    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else 0


def _supervised(rows: Any) -> float | None:
    """Return the share of the tokens that is learnt, from some rows; None where rows have no labels of their own."""
    names = getattr(rows, "column_names", None) or ()
    if "labels" not in names or not hasattr(rows, "__len__"):
        return None
    some = rows[: min(len(rows), _SOME_ROWS)]["labels"]
    count = sum(len(row) for row in some)
    return round(sum(label != IGNORED for row in some for label in row) / count, 4) if count else None


def _attended(rows: Any) -> float | None:
    """Return how many tokens a dialogue has, as a token of the set sees it: long ones have more of them."""
    if not hasattr(rows, "__len__") or not hasattr(rows, "column_names"):
        return None
    some = rows[: min(len(rows), _SOME_ROWS)]
    if "seq_lengths" in some:
        lengths = [length for row in some["seq_lengths"] for length in row]
    else:
        lengths = [len(row) for row in some.get("input_ids", ())]
    return round(sum(length**2 for length in lengths) / sum(lengths), 1) if sum(lengths) else None


def _settings(trainer: Any) -> dict[str, Any]:
    args, core = trainer.args, trainer.model
    core = core.get_base_model() if hasattr(core, "get_base_model") else core
    shape = {name: getattr(core.config, name, None) for name in _SHAPE}
    return {
        "micro_batch": args.per_device_train_batch_size, "accumulation_steps": args.gradient_accumulation_steps,
        "eval_batch": args.per_device_eval_batch_size, "attention": core.config._attn_implementation,
        "gradient_checkpointing": bool(getattr(args, "activation_checkpointing", False)), "bf16": bool(args.bf16),
        "fused_loss": bool(getattr(trainer, "sums_loss", False)), "optimizer": str(args.optim),
        "compiled": any(getattr(layer, "_compiled_call_impl", None) for layer in core.base_model.layers),
        "processes": Rank.here().world, "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
        "trained": sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        "shape": shape, "attended": _attended(trainer.train_dataset),
    }  # fmt: skip
