"""A real training that is killed, stopped, or runs out of disk, memory or numbers, and the same call once more."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.model.training import drill
from tests.model.training.drill import Drill

_DISK_KB = 1000
_MEMORY_MB = 60


def _small_disk(folder: Path, *, kilobytes: int) -> tuple[str, ...]:
    """Return a command that runs what follows it with a small file system of its own at `folder`."""
    mount = f'mount -t tmpfs -o size={kilobytes}k none "{folder}" && exec "$@"'
    return ("unshare", "-Urm", "sh", "-c", mount, "sh")


def _can_mount(folder: Path) -> bool:
    if not shutil.which("unshare"):
        return False
    command = [*_small_disk(folder, kilobytes=100), "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the drill sees on a small disk, where that can be had."""
    return tmp_path_factory.mktemp("small") / "run"


@pytest.fixture(scope="module")
def drilled(small_disk: Path) -> Iterator[Drill]:
    small_disk.mkdir()
    before = _small_disk(small_disk, kilobytes=_DISK_KB) if _can_mount(small_disk) else ()
    with drill.open_drill(small_disk.with_name("errors.txt"), before=before) as opened:
        yield opened


@pytest.fixture(scope="module")
def undisturbed(drilled: Drill, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    found = {}
    for method in ("full", "lora"):
        folder = tmp_path_factory.mktemp("plain") / method
        code, said = drilled.train(folder, method=method)
        assert code == 0, said
        found[method] = drill.outcome(folder)
    return found


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_twice_it_ends_as_if_nothing_had_been(
    drilled: Drill, undisturbed: dict[str, Any], tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "run"
    assert drilled.train(folder, method=method, kill_at=4)[0] == -signal.SIGKILL  # in mid-epoch, in mid-step
    assert drilled.train(folder, method=method, kill_at=10)[0] == -signal.SIGKILL
    code, said = drilled.train(folder, method=method)
    assert code == 0, said
    assert [line for line in said.splitlines() if "continues" in line] == [
        "continues from step 3, the last checkpoint", "continues from step 9, the last checkpoint"
    ]  # fmt: skip
    assert drill.outcome(folder) == undisturbed[method]
    assert sorted(item.name for item in folder.iterdir()) == ["checkpoint-12", "checkpoint-9"]


def test_packed_rows_are_resumed_exactly(drilled: Drill, tmp_path: Path) -> None:
    packed = {"method": "full", "packing": True, "values": {"save_steps": 1}}
    assert drilled.train(tmp_path / "plain", **packed)[0] == 0
    assert drilled.train(tmp_path / "run", **packed, kill_at=3)[0] == -signal.SIGKILL
    code, said = drilled.train(tmp_path / "run", **packed)
    assert code == 0
    assert "continues from step 3" in said
    assert drill.outcome(tmp_path / "run") == drill.outcome(tmp_path / "plain")


def test_sigterm_saves_the_step_and_says_where_the_same_command_goes_on(
    drilled: Drill, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    code, said = drilled.train(tmp_path / "run", method="full", signal_at=7, signal=signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "stopped after step 8, which is saved: type the same command to go on from there" in said
    code, said = drilled.train(tmp_path / "run", method="full")
    assert code == 0
    assert "continues from step 8" in said
    assert drill.outcome(tmp_path / "run") == undisturbed["full"]


def test_slow_steps_are_saved_by_the_clock(drilled: Drill, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    slow = {"method": "full", "saved_every_s": 0.0, "values": {"save_steps": 1000}}
    assert drilled.train(tmp_path / "run", **slow, kill_at=5)[0] == -signal.SIGKILL
    code, said = drilled.train(tmp_path / "run", **slow)
    assert code == 0, said
    assert "continues from step 5" in said
    assert drill.outcome(tmp_path / "run") == undisturbed["full"]


def test_a_loss_that_is_no_number_stops_before_the_step_and_names_its_rows(drilled: Drill, tmp_path: Path) -> None:
    code, said = drilled.train(tmp_path / "run", method="full", bad_row=7)
    last = said.splitlines()[-1]
    assert code == 1
    assert "is nan: rows" in last
    named = last.partition("is nan: rows ")[2].partition(" of the training set")[0].split(", ")
    assert "7" in named
    assert len(named) == 2  # the micro-batch, not the step
    assert "train.learning_rate=0.001, which begins a new training" in last
    assert not list(tmp_path.glob("run/.*"))


def test_a_wrong_step_after_a_checkpoint_leaves_the_checkpoint(drilled: Drill, tmp_path: Path) -> None:
    code, said = drilled.train(tmp_path / "run", method="full", values={"learning_rate": 1e38, "save_steps": 1})
    assert code == 1
    last = said.splitlines()[-1]
    assert "the step was not taken, the weights are those of step" in last
    step = int(last.partition("those of step ")[2].partition(",")[0])
    assert (tmp_path / "run" / f"checkpoint-{step}").is_dir()


def test_memory_that_runs_out_makes_the_micro_batch_smaller_and_keeps_the_step(drilled: Drill, tmp_path: Path) -> None:
    big = {
        "method": "full", "width": 16384, "dropout": 0.0,
        "values": {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 1, "num_train_epochs": 1},
    }  # fmt: skip
    assert drilled.train(tmp_path / "plain", **big)[0] == 0
    code, said = drilled.train(tmp_path / "run", **big, memory_mb=_MEMORY_MB)
    assert code == 0, said
    assert "out of memory with 6 rows at once" in said
    assert "a step keeps its 6 rows" in said
    found, plain = drill.outcome(tmp_path / "run"), drill.outcome(tmp_path / "plain")
    assert found["steps"] == plain["steps"]
    assert found["losses"] == pytest.approx(plain["losses"], abs=1e-4)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(
    drilled: Drill, undisturbed: dict[str, Any], small_disk: Path
) -> None:
    if not _can_mount(small_disk):
        pytest.skip("no file system can be mounted here")
    code, said = drilled.train(small_disk, method="full", filler_kb=650)
    last = said.splitlines()[-1]
    assert code == 1, said
    assert "the disk is full: the checkpoint of step 6 needs 1" in last
    assert str(small_disk) in last
    assert last.endswith("the same command goes on from step 3")
    assert "checkpoints and one that is being written need" in said  # foretold
    code, said = drilled.train(small_disk, method="full", filler_kb=0)
    assert code == 0, said
    assert "continues from step 3" in said
    assert drill.outcome(small_disk) == undisturbed["full"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_before_any_write_it_ends_as_if_nothing_had_been(
    drilled: Drill, undisturbed: dict[str, Any], tmp_path: Path, method: str
) -> None:
    chance = random.Random(int(os.environ.get("PHI_RUNNER_SEED", "0")))
    killed = 0
    for number in range(1, 400, int(os.environ.get("PHI_RUNNER_STRIDE", "1"))):
        folder = tmp_path / f"run{number}"
        code, said = drilled.train(folder, method=method, kill_event=number)
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        killed += 1
        if chance.random() < 0.3:  # and a second time, on the way back
            drilled.train(folder, method=method, kill_event=chance.randrange(1, 20))
        code, said = drilled.train(folder, method=method)
        assert code == 0, said
        assert drill.outcome(folder) == undisturbed[method], f"kill before write {number}"
        assert "is damaged" not in said
        shutil.rmtree(folder)
    assert killed > 20
    print(f"{method}: {killed} kills, each before another write")
