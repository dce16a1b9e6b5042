"""How near a plan comes to what then happens: `python -m benchmarks.plan [--json FILE] [--quick]`.

Every configuration is planned, then really trained for a few steps by the train stage in a process of its own, whose
largest resident set the system tells when it ends. Memory does not depend on what else the machine does; time does, so
the second run of a command is compared with the first one's figures right after it.
"""

import json
import os
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import corpus

_TEXT_BYTES = 3_000_000
_ROWS = 60
_GIB = 2**30
_SIZES = {
    "small": "hidden_size=256 intermediate_size=704 layers=4 heads=4 vocab_size=4096",
    "medium": "hidden_size=384 intermediate_size=1056 layers=6 heads=6 vocab_size=8192",
}
"""4 and 14 million weights; the vocabulary makes the loss a part that shows."""
_METHODS = ("full", "lora")
_CONTEXTS = (256, 768)
_CHECKPOINTING = ("never", "always")
_STEPS, _TIMED_STEPS = 2, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One configuration."""

    size: str
    method: str
    context: int
    checkpointing: str
    steps: int = _STEPS
    seed: int = 0

    @property
    def name(self) -> str:
        """Name it in a table."""
        again = ", checkpointing" if self.checkpointing == "always" else ""
        return f"{self.size}, {self.method}, {self.context}{again}"

    def overrides(self, *, folder: Path) -> list[str]:
        """Return what is typed."""
        return [
            "stages=[data,train]", "data=jsonl", f"data.train_file={_chats(folder)}", "data.eval_fraction=0.1",
            *(f"model.{setting}" for setting in _SIZES[self.size].split()), f"train={self.method}",
            "train.packing=true", f"train.max_length={self.context}", "train.batch_size=2", "train.eval_batch_size=2",
            f"train.gradient_checkpointing={self.checkpointing}", f"+train.extra.max_steps={self.steps}",
            f"seed={self.seed}", f"outputs={folder / 'outputs'}",
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a training process did."""

    peak_gib: float
    seconds: float
    """Of the train stage."""
    measured: dict[str, Any]


def cases() -> list[Case]:
    """Return every combination of two sizes, two methods, two contexts, with and without checkpointing."""
    return [
        Case(size=size, method=method, context=context, checkpointing=again)
        for size, method, context, again in product(_SIZES, _METHODS, _CONTEXTS, _CHECKPOINTING)
    ]


def _chats(folder: Path) -> Path:
    return corpus.chats(_ROWS, folder=folder / "made", text_bytes=_TEXT_BYTES)


def train(case: Case, *, folder: Path) -> Seen:
    """Train in a process of its own; raises RuntimeError with what it said when it fails.

    The process is a copy of this one, libraries imported: they take longer than these trainings.
    """
    log = folder / "output.log"
    child = os.fork()
    if not child:
        _become(case, folder=folder, log=log)
    _pid, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{case.name}: {log.read_text(encoding='utf-8')[-2000:]}")
    run = max((folder / "outputs" / "runs").iterdir(), key=lambda place: place.stat().st_mtime)
    result = run / "results" / "train"
    manifest = json.loads((result / "manifest.json").read_text(encoding="utf-8"))
    return Seen(
        peak_gib=usage.ru_maxrss * 1024 / _GIB, seconds=manifest["seconds"],
        measured=json.loads((result / "measured.json").read_text(encoding="utf-8")),
    )  # fmt: skip


def _become(case: Case, *, folder: Path, log: Path) -> NoReturn:
    """Do what the command line does, and end this process with its exit code."""
    from phi_runner import __main__

    with log.open("w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.argv = ["phi_runner", *case.overrides(folder=folder), "force=[train]"]
    code = 1
    try:
        __main__.run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def load_libraries() -> None:
    """Import what a training imports, so that its copies need not."""
    from phi_runner.config import hydra
    from phi_runner.config.composed import task
    from phi_runner.config.load import load
    from phi_runner.environment import prepare

    hydra.register()
    prepare(load(task(hydra.compose([], extra=None))))
    import mlflow  # noqa: F401
    import peft  # noqa: F401
    from transformers import Phi3ForCausalLM  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    from phi_runner.model.training import fit  # noqa: F401
