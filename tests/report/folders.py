"""Run folders for tests: real runs of the stage `data`, and one with the files that longer runs leave."""

import json
from pathlib import Path
from typing import Any

from phi_runner import runner
from phi_runner.config.schema import AccountAzure, FileData, RunConfig, StageName
from tests import runs


def data_run(folder: Path, *, name: str = "first", **changes: Any) -> Path:
    """Run the data stage over a few facts and return its run folder."""
    config = data_config(folder, **changes)
    place = folder / "outputs" / "runs" / name
    runner.perform(config, folder=place, overrides=["stages=[data]", "seed=0"], recipe="", trial=None)
    return place


def data_config(folder: Path, **changes: Any) -> RunConfig:
    """Return the config of such a run."""
    file = folder / "facts.jsonl"
    if not file.is_file():
        runs.facts_file(folder)
    return runs.config(
        StageName.data, outputs=folder / "outputs", azure=AccountAzure(), data=FileData(train_file=str(file)), **changes
    )


def write(folder: Path, name: str, value: object) -> None:
    """Write a JSON file below a folder."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def stage(name: str, **values: Any) -> dict[str, Any]:
    """Return a stage as `run.json` has it."""
    return {"name": name, "status": "done", "why": "no result yet", "key": name * 8, "seconds": 2.0} | values


def full_run(folder: Path, *, shift: float = 0.0) -> Path:
    """Write the folder of a run with every stage, as far as a report reads it."""
    record = {
        "recipe": "full", "overrides": ["train.epochs=2"],
        "command": "python -m phi_runner +recipe=full train.epochs=2",
        "status": "done", "error": "", "started_at": 1.7e9, "seconds": 60.0, "values": {}, "events": [
            {"kind": "warning", "message": "look <here>", "stage": "train", "at": 1.7e9, "values": {}}],
        "stages": [stage(name) for name in ("data", "train", "evaluate", "register", "deploy", "flow")],
    }  # fmt: skip
    write(folder, "run.json", record)
    (folder / "config.yaml").write_text(f"seed: 0\ntrain: {{learning_rate: {0.001 + shift}}}\n")
    (folder / "run.log").write_text("a line\n")
    log = [{"step": float(step), "loss": 3.0 / step + shift, "learning_rate": 1e-3 / step} for step in range(1, 9)]
    write(folder, "results/train/history.json", [*log, {"step": 8.0, "eval_loss": 0.5 + shift}, "damaged"])
    write(folder, "results/train/artifact.json", {"base": "base", "steps": 8, "parameters": 1000, "loss_last": 0.4})
    figure = {
        "name": "held-out loss", "about": "nats", "before": 2.0, "after": 1.0 + shift, "difference": shift - 1.0,
        "low": -1.2, "high": -0.8, "rows": 20, "unit": "nats", "verdict": "better", "note": "",
    }  # fmt: skip
    worst = [{"row": 3, "question": "Why?", "answer": "Because.", "loss_before": 1.0, "loss_after": 2.0}]
    card = {"verdict": "better", "words": "held-out loss 2.0 -> 1.0", "figures": [figure], "loss_rose": worst,
            "loss_rose_rows": 1, "confidence": 0.95}  # fmt: skip
    write(folder, "results/evaluate/card.json", card)
    write(folder, "results/evaluate/artifact.json", {"prompts": 1, "loss_before": 2.0, "loss_after": 1.0})
    answer = {"messages": [{"role": "user", "content": "Q <b>?"}], "wanted": "A", "before": "x", "after": f"a{shift}"}
    (folder / "results/evaluate/answers.jsonl").write_text(json.dumps(answer) + "\nnot json\n")
    endpoint = {
        "name": "phi",
        "url": "http://127.0.0.1:9",
        "key_file": "/keys/it's.key",
        "model": "phi/1",
        "detached": True,
    }
    write(folder, "results/deploy/artifact.json", endpoint)
    write(folder, "results/flow/artifact.json", {"question": "Who?", "answer": "Me.", "flow_folder": "/f", "url": ""})
    hours = {"train": {"low": 0.0001, "likely": 0.001, "high": 0.01, "unit": "h", "source": "a measurement"}}
    bill = {"what": "endpoint", "size": "E4s", "usd": {"missing": "price of E4s"}, "stays": True}
    write(folder, "plan.json", {"estimates": {"hours": hours, "bills": [bill], "prices_as_of": "2026-01-01"}})
    finding = {"level": "warning", "message": "2 rows twice"}
    write(folder, "data_check.json", {"summary": "20 rows", "findings": [finding]})
    (folder / "data_check.html").write_text("<p>x</p>")
    pins = {"torch": f"2.{shift}", "zlib-ng": "1.0"}
    write(folder, "versions.json", {"python": "3.11", "machine": {"cores": 2}, "threads": 2, "distributions": pins})
    return folder
