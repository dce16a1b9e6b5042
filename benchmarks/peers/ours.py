"""phi_runner through its own command line; its steps are read from the tracking database that every run writes."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import Peer, Step
from benchmarks.tasks import Task
from benchmarks.watched import Watched

_TOKENS = "num_input_tokens_seen"


def _command(*, method: str = "full", chosen: tuple[str, ...] = ()) -> Callable[[Task, Path], list[str]]:
    def command(task: Task, python: Path) -> list[str]:
        return [
            str(python), "-m", "phi_runner", "stages=[data,train]", "model=local", f"model.path={task.model}",
            "data=jsonl", f"data.train_file={task.dialogues}", f"data.eval_file={task.held_out}",
            f"train={method}", f"compute={'gpu' if task.cuda else 'cpu'}", f"seed={task.seed}",
            "train.packing=true", f"train.batch_size={task.batch}", f"train.max_length={task.context}",
            # the tutorial's script and TRL's defaults learn every token: so do we here, or less would be computed
            "train.assistant_only_loss=false", f"train.learning_rate={task.learning_rate}", "train.scheduler=linear",
            "train.warmup_ratio=0", "train.log_steps=1", "train.save_steps=1000000", f"outputs={task.folder}/outputs",
            f"+train.extra.max_steps={task.steps}", f"+train.extra.include_{_TOKENS}=non_padding", *chosen,
        ]  # fmt: skip

    return command


def _recorded(watched: Watched, task: Task) -> list[Step]:
    """Read the steps that the run has tracked, each with the time at which it was."""
    [database] = (task.folder / "outputs").glob("*.db")
    ask = "select key, value, timestamp, step from metrics order by step, timestamp"
    try:
        with sqlite3.connect(database) as tracked:
            rows = tracked.execute(ask).fetchall()
    except sqlite3.OperationalError:  # it ended before the tracker had made its tables
        return []
    losses = {step: value for key, value, _at_ms, step in rows if key == "loss"}
    found: dict[float, Step] = {}
    for key, value, at_ms, step in rows:
        if key == _TOKENS and step in losses and step not in found:  # the last step is told again with the evaluation
            found[step] = Step(at_s=at_ms / 1000 - watched.started_at, tokens=int(value), loss=losses[step])
    return list(found.values())


OURS = Peer(
    name="phi_runner",
    about="the command line with train.speed=auto: the runner chooses",
    command=_command(),
    steps=_recorded,
)
LORA = Peer(
    name="phi_runner, LoRA",
    about="the same with train=lora",
    command=_command(method="lora"),
    steps=_recorded,
)
