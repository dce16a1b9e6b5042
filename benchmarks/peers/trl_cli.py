"""TRL's own command line, `trl sft --packing`, with its defaults in the precision that suits the machine."""

import json
import os
from pathlib import Path

from benchmarks.peers import Peer, printed
from benchmarks.peers.trl_alone import common
from benchmarks.tasks import Task


def _command(task: Task, python: Path) -> list[str]:
    rows = task.folder / "rows"
    rows.mkdir()
    with task.dialogues.open(encoding="utf-8") as lines, (rows / "train.jsonl").open("w", encoding="utf-8") as kept:
        for line in lines:  # ultrachat's column `prompt` makes TRL look for completions beside it
            kept.write(json.dumps({"messages": json.loads(line)["messages"]}) + "\n")
    arguments = common(task) | {
        "model_name_or_path": task.model,
        "dataset_name": rows,
        "bf16": task.precision == "bf16",
        "dtype": "float32",
        "log_level": "info",
        "include_num_input_tokens_seen": True,  # the parser takes nothing else; packed rows have no padding to count
    }
    typed = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    # accelerate gives a process one thread where the variable is unset: that would measure the variable
    return [str(python.with_name("trl")), "sft", *typed]


PEER = Peer(
    name="trl sft",
    about="TRL 1.16's command line with its defaults, OMP_NUM_THREADS exported",
    command=_command,
    environment=(("OMP_NUM_THREADS", str(os.cpu_count())), ("ACCELERATE_USE_CPU", "true")),
    steps=printed,
)
