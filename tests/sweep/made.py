"""Folders of trials as runs leave them, for tests of what is made of them."""

import json
from pathlib import Path
from typing import Any


def trial(
    sweep: Path, name: str, *, values: dict[str, Any], status: str = "done", number: int = 0,
    metrics: dict[str, Any] | None = None, **more: Any,
) -> Path:  # fmt: skip
    """Write one trial's `trial.json` and `run.json` and return its folder."""
    folder = sweep / name
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [f"{key}={value}" for key, value in values.items()]
    told = {
        "id": name, "number": number, "values": values, "overrides": overrides, "status": status, "tries": 1,
        "objective": None, "seconds": 2.5, "error": "", "started_at": 1000.0 + number,
    } | more  # fmt: skip
    stages = [{"name": "data", "status": "reused", "key": "d"}, {"name": "train", "status": "done", "key": name}]
    run = {"status": status, "values": metrics or {}, "stages": stages, "recipe": "", "overrides": overrides}
    (folder / "trial.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


def history(folder: Path, losses: list[float]) -> None:
    """Write held-out losses, evenly over a training of 100 steps, as the trained result has them."""
    place = folder / "results" / "train"
    place.mkdir(parents=True)
    step = 100 // len(losses)
    lines = [{"step": step * at, "eval_loss": loss} for at, loss in enumerate(losses, start=1)]
    (place / "history.json").write_text(json.dumps([*lines, {"step": 100, "train_loss": 1.0}]), encoding="utf-8")
