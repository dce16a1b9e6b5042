"""Which checkpoint a training goes on from: its own or the named one, never one of other settings or other data."""

from dataclasses import replace
from pathlib import Path

import pytest

from phi_runner.config.resuming import Settings
from phi_runner.errors import TrainFailed
from phi_runner.model.training import checkpoints, resume

_NOW = Settings(decisive={"train.kind": "full", "data": "d1", "rows": "22"}, libraries={"torch": "2.13"})


def _make(folder: Path, *, step: int, settings: Settings = _NOW) -> Path:
    written = checkpoints.aside(folder, step=step) / f"checkpoint-{step}"
    written.mkdir(parents=True)
    settings.write(written)
    return checkpoints.publish(written, folder=folder)


def _start(folder: Path, *, named: str = "", now: Settings = _NOW) -> tuple[Path | None, list[str]]:
    told: list[str] = []
    return resume.start(folder, named=named, now=now, warn=told.append), told


def test_it_goes_on_from_the_furthest_of_its_own_and_the_named_one(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    assert _start(own) == (None, [])
    named = _make(other, step=10)
    assert _start(own, named=str(named)) == (named, [])
    early, late = _make(own, step=5), _make(own, step=15)
    assert _start(own, named=str(named)) == (late, [])
    (late / "settings.json").write_text("{}")
    found, told = _start(own, named=str(named))
    assert found == named
    assert told == [
        "checkpoint-15 is damaged and passed over: settings.json has 2 bytes instead of " + told[0].split()[-1]
    ]
    assert _start(own)[0] == early


def test_other_data_are_refused_with_what_changed(tmp_path: Path) -> None:
    made = _make(tmp_path, step=5)
    now = replace(_NOW, decisive={"train.kind": "full", "data": "d2", "rows": "23"})
    with pytest.raises(TrainFailed) as found:
        _start(tmp_path, now=now)
    assert str(found.value) == (
        f"{made} was left by other settings: data d1 -> d2; rows 22 -> 23; type them as they were, "
        "or begin anew with force=[train]"
    )


def test_other_libraries_are_told_and_taken(tmp_path: Path) -> None:
    made = _make(tmp_path, step=5)
    found, told = _start(tmp_path, now=replace(_NOW, libraries={"torch": "2.14"}))
    assert found == made
    assert told == ["checkpoint-5 was written with other libraries: torch 2.13 -> 2.14; numbers may differ by rounding"]


def test_a_damaged_named_one_is_refused(tmp_path: Path) -> None:
    named = _make(tmp_path / "other", step=10)
    (named / "settings.json").unlink()
    with pytest.raises(TrainFailed, match=r"is damaged: settings\.json is missing; name the checkpoint before it"):
        _start(tmp_path / "own", named=str(named))
