"""Several processes train as one does: the same rows in the same steps, the same losses, and a lost one comes back."""

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.utils.data import BatchSampler

from phi_runner.config.schema import CpuCompute, FullTrain, Precision, Strategy
from phi_runner.errors import TrainFailed
from phi_runner.model import device
from phi_runner.model.training import spread
from phi_runner.model.training.even import Rounded, RowsAndBlanks
from phi_runner.rank import Rank
from tests import runs
from tests.e2e import cli

if TYPE_CHECKING:
    import subprocess

_ROWS = [{"input_ids": [row, row + 1, row + 2], "labels": [-100, row + 1, row + 2]} for row in range(5)]


@given(rows=st.integers(1, 60), micro=st.integers(1, 5), world=st.integers(2, 4), accumulated=st.integers(1, 3))
def test_processes_share_every_step_and_no_row_counts_twice(
    rows: int, micro: int, world: int, accumulated: int
) -> None:
    order = Rounded(range(rows), rows=rows, multiple=micro * world)
    shards = [
        list(BatchSamplerShard(BatchSampler(order, micro, drop_last=False), num_processes=world, process_index=rank))
        for rank in range(world)
    ]
    assert len({len(shard) for shard in shards}) == 1
    step = micro * world * accumulated
    for number, begin in enumerate(range(0, rows, step)):
        mine = (shard[number * accumulated : (number + 1) * accumulated] for shard in shards)
        together = sorted(row for batches in mine for batch in batches for row in batch if row < rows)
        assert together == list(range(begin, min(begin + step, rows)))


def test_a_blank_row_teaches_nothing() -> None:
    rows = RowsAndBlanks(Dataset.from_list(_ROWS))
    assert len(rows) == 5
    assert rows[5] == {"input_ids": [0, 1], "labels": [-100, -100]}
    found = rows.__getitems__([4, 5, 0])
    assert [row["input_ids"] for row in found] == [[4, 5, 6], [0, 1], [0, 1, 2]]
    assert RowsAndBlanks([{"input_ids": [7, 8, 9], "labels": [7, 8, 9], "seq_lengths": [1, 2]}])[1] == {
        "input_ids": [7, 8], "labels": [-100, -100], "seq_lengths": [2],
    }  # fmt: skip


def test_an_order_hands_its_epoch_on() -> None:
    class Order(list[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    order = Order(range(3))
    Rounded(order, rows=3, multiple=4).set_epoch(7)
    assert order.epoch == 7


def as_one_of(monkeypatch: pytest.MonkeyPatch, world: int, *, number: int = 0) -> None:
    for name, value in {"WORLD_SIZE": world, "RANK": number, "LOCAL_RANK": number, "LOCAL_WORLD_SIZE": world}.items():
        monkeypatch.setenv(name, str(value))


def test_a_step_is_divided_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FullTrain(**runs.train_values(batch_size=6), accumulation_steps=2)
    assert spread.rows_each(config) == 12
    as_one_of(monkeypatch, 4)
    assert spread.rows_each(config) == 3
    as_one_of(monkeypatch, 5)
    with pytest.raises(TrainFailed, match=r"12 rows .* 5 processes: type train\.batch_size=10"):
        spread.rows_each(config)


def test_a_process_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Rank.here().alone, Rank.here().cores()) == (True, len(os.sched_getaffinity(0)))
    as_one_of(monkeypatch, 2, number=1)
    rank = Rank.here()
    assert (rank.number, rank.first, rank.cores()) == (1, False, max(1, len(os.sched_getaffinity(0)) // 2))


def test_a_strategy_reaches_the_trainer_of_several_processes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = CpuCompute(threads=1, processes=2, strategy=Strategy.fsdp)
    place = device.choose(compute, precision=Precision.fp32)
    assert spread.arguments(place, layers=["Phi3DecoderLayer"]) == {}
    as_one_of(monkeypatch, 2)
    told = spread.arguments(place, layers=["Phi3DecoderLayer"])
    assert told["average_tokens_across_devices"]
    assert told["fsdp_config"]["transformer_layer_cls_to_wrap"] == ["Phi3DecoderLayer"]


class Trained:
    """A run of the real command, by its outputs."""

    def __init__(self, folder: Path) -> None:
        (self.folder,) = [item for item in (folder / "outputs/store/train").iterdir() if item.name[0] != "."]

    def losses(self) -> list[float]:
        history = json.loads((self.folder / "history.json").read_text())
        return [line["loss"] for line in history if "loss" in line]

    def weights(self) -> dict[str, Any]:
        (file,) = (self.folder / "model").glob("*.safetensors")
        return dict(load_file(file))


def words(facts: Path, *more: str) -> list[str]:
    return [
        "stages=[data,train]", "data=jsonl", f"data.train_file={facts}", *cli.SMALL, "train.epochs=4",
        "train.log_steps=1", "train.packing=false", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 rows to learn from, so that the last step of an epoch is not full."""
    return runs.facts_file(tmp_path_factory.mktemp("facts"))


def trained(folder: Path, facts: Path, *more: str) -> Trained:
    folder.mkdir()
    cli.run(folder, *words(facts, *more))
    return Trained(folder)


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert sorted(one) == sorted(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", [[], ["train=lora", "train.dropout=0", "train.learning_rate=5e-3"]], ids=str)
def test_two_processes_have_the_losses_of_one(tmp_path: Path, facts: Path, method: list[str]) -> None:
    alone = trained(tmp_path / "one", facts, *method)
    for strategy in ("ddp", "fsdp"):
        spread_out = ["compute.processes=2", f"compute.strategy={strategy}"]
        both = trained(tmp_path / strategy, facts, *method, *spread_out)
        assert len(both.losses()) == len(alone.losses()) == 12
        difference = max(abs(a - b) for a, b in zip(alone.losses(), both.losses(), strict=True))
        assert difference < 1e-5, f"{strategy}: {difference}"
        assert furthest(alone.weights(), both.weights()) < 1e-4


def workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    family = psutil.Process(process.pid).children(recursive=True)
    return [member for member in family if "phi_runner.worker" in member.cmdline()]


def saved(folder: Path) -> list[Path]:
    return sorted(folder.glob("outputs/store/train/.*.scratch/checkpoints/checkpoint-*"))


def wait_for_checkpoint(process: "subprocess.Popen[str]", folder: Path) -> None:
    while not saved(folder):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lost_process_costs_nothing_but_time(tmp_path: Path, facts: Path) -> None:
    more = ["compute.processes=2", "compute.restarts=1", "train.epochs=8", "train.save_steps=3"]
    whole = trained(tmp_path / "whole", facts, *more)
    folder = tmp_path / "lost"
    folder.mkdir()
    process = cli.start(folder, *words(facts, *more))
    wait_for_checkpoint(process, folder)
    workers(process)[-1].kill()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "a process was lost: all start again from the last checkpoint (1 of 1 times)" in out
    assert furthest(whole.weights(), Trained(folder).weights()) == 0.0
    assert whole.losses() == Trained(folder).losses()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_run(tmp_path: Path, facts: Path, number: signal.Signals) -> None:
    process = cli.start(tmp_path, *words(facts, "compute.processes=2", "train.epochs=400", "train.save_steps=3"))
    wait_for_checkpoint(process, tmp_path)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(workers(process)) == 2
    process.send_signal(number)
    process.communicate(timeout=120)
    _gone, left = psutil.wait_procs(family, timeout=90)
    assert left == []
