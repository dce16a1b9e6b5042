"""Which checkpoint an interrupted training continues from: the newest one that was written to its end."""

import json
import shutil
from pathlib import Path

_PREFIX = "checkpoint-"
_LAST_WRITTEN = "trainer_state.json"
"""transformers' Trainer writes this after the weights, the optimiser, the schedule and the random state."""


def _complete(folder: Path) -> bool:
    try:
        state = json.loads((folder / _LAST_WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "global_step" in state


def _step(folder: Path) -> int:
    number = folder.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint under `folder`; what a kill left half written is removed."""
    found = sorted(folder.glob(f"{_PREFIX}*"), key=_step)
    whole = [checkpoint for checkpoint in found if _complete(checkpoint)]
    for checkpoint in found:
        if checkpoint not in whole:
            shutil.rmtree(checkpoint)
    return whole[-1] if whole else None
