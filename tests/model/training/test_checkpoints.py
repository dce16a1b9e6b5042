"""What lies on the disk at any moment: whole checkpoints, the newest of which is found whatever happened to it."""

import json
from pathlib import Path

import pytest

from phi_runner.model.training import checkpoints


def _make(folder: Path, *, step: int, text: str = "weights") -> Path:
    written = checkpoints.aside(folder, step=step) / f"checkpoint-{step}"
    (written / "shards").mkdir(parents=True)
    (written / "model.safetensors").write_text(text * 1000)
    (written / "shards" / "rank1.pth").write_text(f"{step}")
    made = checkpoints.publish(written, folder=folder)
    written.parent.rmdir()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (9, 10, 20):
        _make(tmp_path, step=step)
    return tmp_path


def test_a_checkpoint_is_whole_and_its_steps_are_counted_as_numbers(folder: Path) -> None:
    found = checkpoints.newest(folder)
    assert found is not None
    assert checkpoints.step_of(found) == 20
    assert checkpoints.damage(found) == ""
    listed = json.loads((found / checkpoints.MANIFEST_FILE).read_text())["files"]
    assert set(listed) == {"model.safetensors", "shards/rank1.pth"}
    assert not list(folder.glob(".*"))


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _flip(file: Path) -> None:
    found = bytearray(file.read_bytes())
    found[len(found) // 2] ^= 1
    file.write_bytes(found)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("model.safetensors", _truncate, "model.safetensors has 6999 bytes instead of 7000"),
        ("model.safetensors", _flip, "model.safetensors was changed"),
        ("shards/rank1.pth", Path.unlink, "shards/rank1.pth is missing"),
        ("manifest.json", Path.unlink, "manifest.json is missing"),
        ("manifest.json", _truncate, "manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(folder: Path, name: str, harm: object, said: str) -> None:
    harm(folder / "checkpoint-20" / name)  # type: ignore[operator]
    if said.endswith("read"):
        (folder / "checkpoint-20" / name).write_text("{")
    told: list[str] = []
    found = checkpoints.newest(folder, warn=told.append)
    assert found == folder / "checkpoint-10"
    assert told == [f"checkpoint-20 is damaged and passed over: {said}"]
    assert checkpoints.newest(folder, warn=told.append) == found
    assert len(told) == 1  # told once, then out of the way
    assert _make(folder, step=20) == folder / "checkpoint-20"
    assert checkpoints.newest(folder) == folder / "checkpoint-20"


def test_what_a_kill_left_half_written_is_removed(folder: Path) -> None:
    half = checkpoints.aside(folder, step=30) / "checkpoint-30"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_text("half")
    (folder / ".checkpoint-5.old").mkdir()
    assert checkpoints.newest(folder) == folder / "checkpoint-20"
    assert sorted(item.name for item in folder.iterdir()) == ["checkpoint-10", "checkpoint-20", "checkpoint-9"]


def test_rotation_keeps_the_newest_and_the_best(folder: Path) -> None:
    _make(folder, step=100)
    checkpoints.rotate(folder, keep=2, best=str(folder / "checkpoint-9"))
    assert sorted(item.name for item in folder.iterdir()) == ["checkpoint-100", "checkpoint-20", "checkpoint-9"]
    checkpoints.rotate(folder, keep=None)
    assert len(list(folder.iterdir())) == 3


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.newest(tmp_path / "missing") is None


def test_publishing_a_step_again_replaces_it(folder: Path) -> None:
    again = _make(folder, step=20, text="others")
    assert (again / "model.safetensors").read_text().startswith("others")
    assert checkpoints.damage(again) == ""
    assert not list(folder.glob(".*.old"))
