"""A search over a function instead of trainings, in a process of its own: `python -m tests.sweep.searching FOLDER`."""

import json
import math
import os
import signal
import sys
from pathlib import Path

from omegaconf import DictConfig

from phi_runner.config import hydra
from phi_runner.config.hydra import Job
from tests.sweep import made

SPACE = ("train.learning_rate=tag(log,interval(1e-4,1e-1))", "train.batch_size=8,16,32")


def loss_of(rate: float, rows: int) -> float:
    """Return what a training would come to: best at 1e-2 and 16."""
    return 1 + (math.log10(rate) + 2) ** 2 + abs(math.log2(rows) - 4)


def search(folder: Path, *words: str, kill_after: int | None = None, fail: tuple[int, ...] = ()) -> list[int]:
    """Search as the command line would and return the numbers of the trials that ran; a killed one leaves no word."""
    ran: list[int] = []

    def task(node: DictConfig, job: Job) -> None:
        number = int(job.trial or 0)
        if kill_after is not None and len(ran) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        ran.append(number)
        rate, rows = float(node.train.learning_rate), int(node.train.batch_size)
        values = {"train.learning_rate": rate, "train.batch_size": rows}
        status = "failed" if number in fail else "done"
        metrics = {} if status == "failed" else {"loss_after": loss_of(rate, rows)}
        made.trial(job.folder.parent, job.folder.name, values=values, number=number, status=status, metrics=metrics)

    told = (
        "-m", "hydra/sweeper=optuna", f"hydra.sweep.dir={folder}", "hydra.output_subdir=null", *SPACE, *words
    )  # fmt: skip
    hydra.start(told, task)
    return ran


def tried(folder: Path) -> dict[str, float]:
    """Return the objective of each finished trial by its name."""
    found = {}
    for file in folder.glob("*/run.json"):
        values = json.loads(file.read_text(encoding="utf-8"))["values"]
        if values:
            found[file.parent.name] = values["loss_after"]
    return found


if __name__ == "__main__":
    search(Path(sys.argv[1]), "hydra.sweeper.n_trials=6", kill_after=int(sys.argv[2]))
