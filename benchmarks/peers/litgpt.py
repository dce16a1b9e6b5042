"""LitGPT 0.5.13, `litgpt finetune_full`: no packing, one padded dialogue at a time, in the machine's precision."""

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.peers import Peer, Step
from benchmarks.tasks import Task
from benchmarks.watched import Watched

_ITERATION = re.compile(r"iter (\d+) step \d+ \| loss train: ([\d.]+).*\(step\)")


def _pair(row: dict[str, Any]) -> dict[str, str]:
    """Return a dialogue as the one question and one answer that LitGPT's data takes, so that no token is lost."""
    first, *others = (message["content"] for message in row["messages"])
    return {"instruction": first, "input": "", "output": "\n".join(others)}


def _command(task: Task, python: Path) -> list[str]:
    converter = Path(__file__).parent / "scripts" / "litgpt_weights.py"
    checkpoint = task.folder / "checkpoint"
    subprocess.run([str(python), str(converter), str(task.model), str(checkpoint)], check=True, capture_output=True)
    with task.dialogues.open(encoding="utf-8") as lines:
        pairs = [_pair(json.loads(line)) for line in lines]
    file = task.folder / "pairs.json"
    file.write_text(json.dumps(pairs), encoding="utf-8")
    precision = "bf16-true" if task.precision == "bf16" else "32-true"
    return [
        str(python.with_name("litgpt")), "finetune_full", str(checkpoint), "--out_dir", str(task.folder / "out"),
        "--precision", precision, "--data", "JSON", "--data.json_path", str(file),
        "--data.val_split_fraction", "0.05", "--data.num_workers", "0", "--train.max_seq_length", str(task.context),
        "--train.micro_batch_size", "1", "--train.global_batch_size", str(2 * task.batch), "--train.epochs", "1",
        "--train.max_steps", str(task.steps), "--train.lr_warmup_steps", "1", "--train.log_interval", "1",
        "--eval.initial_validation", "false", "--eval.final_validation", "false", "--eval.max_iters", "1",
    ]  # fmt: skip


def _steps(watched: Watched, task: Task) -> list[Step]:
    """Read when a step ended from the lines, and its tokens, padding not counted, from LitGPT's own metrics."""
    [metrics] = (task.folder / "out").rglob("metrics.csv")
    with metrics.open(encoding="utf-8") as rows:
        tokens = {int(row["iter"]): int(float(row["tokens"])) for row in csv.DictReader(rows) if row["iter"]}
    found = [(line.at_s, _ITERATION.search(line.text)) for line in watched.lines]
    return [
        Step(at_s=at_s, tokens=tokens[int(said[1])], loss=float(said[2]))
        for at_s, said in found
        if said and int(said[1]) in tokens
    ]


PEER = Peer(
    name="LitGPT",
    about="0.5.13, finetune_full, dialogues of their own length instead of packed rows, 8 to a step",
    command=_command,
    packages=("litgpt==0.5.13", "requests"),  # it imports requests and does not ask for it
    steps=_steps,
)
