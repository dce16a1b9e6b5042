"""A grid over a real training: killed in the middle and continued, then extended and reordered."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sweep import typed

EPOCHS, RATES = "train.epochs=1,2,3", "train.learning_rate=1e-3,2e-3,4e-3"
FIFTH = 4


def table(folder: Path) -> dict[str, Any]:
    """Return what the trials are compared by."""
    return {swept: told["objective"] for swept, told in typed.trials(folder).items()}


def trains(folder: Path, *, number: int) -> bool:
    """Say whether a trial is in the middle of its training."""
    for file in folder.glob("out/sweeps/*/*/trial.json"):
        told, run = json.loads(file.read_text()), file.with_name("run.json")
        if told["number"] == number and told["status"] == "running" and run.is_file():
            stages = json.loads(run.read_text())["stages"]
            return any(item["name"] == "train" and item["status"] == "running" for item in stages)
    return False


@pytest.mark.slow
def test_a_killed_grid_continues_and_grows_without_doing_anything_twice(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    process = typed.started(killed, EPOCHS, RATES, *typed.TINY)
    typed.killed(process, when=lambda: trains(killed, number=FIFTH))
    assert [told["status"] for told in typed.trials(killed).values()].count("done") == FIFTH

    assert typed.swept(killed, EPOCHS, RATES, *typed.TINY, table=True) == 0
    assert sorted(told["tries"] for told in typed.trials(killed).values()) == [1] * 8 + [2]
    assert sorted(typed.begun(killed).values()) == [1] * 8 + [2]
    assert typed.ways(killed, "data") == {"done": 1, "reused": 8}

    assert (
        typed.swept(killed, "train.learning_rate=8e-3,4e-3,2e-3,1e-3", "train.epochs=3,2,1", *typed.TINY, table=True)
        == 0
    )
    assert sorted(typed.begun(killed).values()) == [1] * 11 + [2]
    assert typed.ways(killed, "data") == {"done": 1, "reused": 11}

    assert typed.swept(whole, EPOCHS, RATES, *typed.TINY, table=True) == 0
    assert {swept: table(killed)[swept] for swept in table(whole)} == table(whole)
