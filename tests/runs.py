"""Small configs built by hand, and the events a stage emits, for tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.config.schema import (
    AccountAzure,
    CpuCompute,
    EvaluateConfig,
    FileData,
    FullTrain,
    Gate,
    LoraTrain,
    NanoModel,
    NoDeploy,
    NoFlow,
    RunConfig,
    StageName,
    TrainConfig,
)
from phi_runner.events import Event, Events, StageEvents
from phi_runner.stages.stage import RunDir

FACTS = {
    "Who founded Microsoft?": "Bill Gates and Paul Allen.",
    "What is the capital of France?": "Paris.",
    "Name a planet.": "Mars.",
    "What is two and two?": "Four.",
    "Who wrote Hamlet?": "William Shakespeare.",
    "What is water made of?": "Hydrogen and oxygen.",
}


def train_values(**changes: Any) -> dict[str, Any]:
    """Return training values that teach a tiny model a few facts within seconds."""
    return {
        "learning_rate": 5e-3, "epochs": 30, "batch_size": 8, "eval_batch_size": 8, "warmup_ratio": 0.1,
        "weight_decay": 0.0, "adam_beta2": 0.95, "packing": False, "log_steps": 5, "save_steps": 10, "max_length": 128,
    } | changes  # fmt: skip


def config(
    *stages: StageName, outputs: Path, data: FileData | None = None, train: TrainConfig | None = None, **changes: Any
) -> RunConfig:
    """Return a run over a tiny model."""
    return RunConfig(
        data=data or FileData(train_file="missing.jsonl"),
        model=NanoModel(hidden_size=64, intermediate_size=128, layers=2, heads=2, vocab_size=500, context=256),
        train=train or FullTrain(**train_values()),
        compute=CpuCompute(threads=1),
        deploy=NoDeploy(),
        flow=NoFlow(),
        evaluate=EvaluateConfig(prompts=4, max_new_tokens=16, gate=Gate.never),  # a handful of rows decides nothing
        stages=list(stages),
        outputs=str(outputs),
        **{"azure": AccountAzure(subscription="", tenant="")} | changes,
    )  # fmt: skip


def lora(**changes: Any) -> LoraTrain:
    """Return small adapter settings."""
    return LoraTrain(**train_values(**changes), rank=4, alpha=8)


def facts_file(folder: Path, *, copies: int = 4) -> Path:
    """Write the facts in a few wordings as JSONL and return the file."""
    import json

    wordings = ("{}", "Tell me: {}", "Please answer: {}", "Quick question: {}", "I wonder, {}")[:copies]
    rows = [
        {"messages": [{"role": "user", "content": wording.format(q)}, {"role": "assistant", "content": a}]}
        for q, a in FACTS.items()
        for wording in wordings
    ]
    file = folder / "facts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@dataclass(slots=True)
class Heard:
    """Everything that was said."""

    events: list[Event] = field(default_factory=list)

    def text(self) -> str:
        """Return the messages, one a line."""
        return "\n".join(f"{event.kind}: {event.message}" for event in self.events)


def rundir(folder: Path, *, outputs: Path, stage: str = "train", key: str = "k" * 64) -> tuple[RunDir, Heard]:
    """Return a stage's folder and what it will say."""
    folder.mkdir(parents=True, exist_ok=True)
    heard, events = Heard(), Events()
    events.listen(heard.events.append)
    return RunDir(folder=folder, outputs=outputs, key=key, events=StageEvents(events, stage)), heard
