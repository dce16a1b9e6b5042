"""Our trainer against TRL's: the same loss and gradient by a shorter way, and an order that a resumed run repeats."""

from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.config.schema import FullTrain, NanoModel
from phi_runner.model import load, tokens
from phi_runner.model.device import Device
from phi_runner.model.tokens import IGNORED
from phi_runner.model.training import arguments, loss
from phi_runner.model.training.room import rule
from tests import runs

pytestmark = pytest.mark.filterwarnings("default")
_CPU = Device(name="cpu", bf16=False, why="test")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> load.Start:
    nano = NanoModel(hidden_size=32, intermediate_size=64, layers=2, heads=2, vocab_size=450, context=256)
    texts = [text for pair in runs.FACTS.items() for text in pair]
    return load.start(nano, texts=texts, seed=0, folder=tmp_path_factory.mktemp("start"))


def _rows(start: load.Start) -> tokens.TokenRows:
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in runs.FACTS.items()]
    return tokens.tokenise(start.tokenizer, chats * 3, max_length=128)


def _trainer(kind: Any, start: load.Start, folder: Path, **changes: Any) -> Any:
    from trl import SFTConfig

    config = FullTrain(**runs.train_values(**changes))
    told = arguments.shared(config, device=_CPU, seed=0, folder=folder) | {"eval_strategy": "no", "max_length": None}
    told |= {"per_device_train_batch_size": 8, "dataset_kwargs": {"skip_prepare_dataset": True}}
    rows = _rows(start)
    data = tokens.pack(rows, max_length=config.max_length) if config.packing else rows.dataset
    return kind(
        model=start.model, args=SFTConfig(**told | {"padding_free": config.packing} | config.extra),
        processing_class=start.tokenizer, train_dataset=data,
    )  # fmt: skip


def _loss_and_gradient(trainer: Any, model: Any) -> tuple[float, torch.Tensor]:
    batch = next(iter(trainer.get_train_dataloader()))
    model.zero_grad()
    count = (batch["labels"][:, 1:] != IGNORED).sum()
    loss = trainer.compute_loss(model, dict(batch), num_items_in_batch=count)
    loss.backward()
    return loss.item(), model.model.layers[0].mlp.down_proj.weight.grad.clone()


@pytest.mark.parametrize(
    "changes",
    [{}, {"packing": True}, {"extra": {"label_smoothing_factor": 0.3}}, {"extra": {"loss_type": "dft"}}],
    ids=["plain", "packed", "smoothed", "dft"],
)
def test_loss_and_gradient_equal_trls(start: load.Start, tmp_path: Path, changes: dict[str, Any]) -> None:
    from trl import SFTTrainer

    from phi_runner.model.training.trainer import PhiTrainer

    sequential = {"extra": changes.get("extra", {}) | {"train_sampling_strategy": "sequential"}}
    found = []
    for kind in (SFTTrainer, PhiTrainer):
        trainer = _trainer(kind, start, tmp_path, **changes | sequential)
        if kind is PhiTrainer and "loss_type" not in changes.get("extra", {}) and "extra" not in changes:
            loss.install(trainer.core)
            trainer.sums_loss = True
        found.append(_loss_and_gradient(trainer, start.model))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert torch.allclose(found[1][1], found[0][1], atol=1e-6)


@pytest.mark.parametrize(("row_tokens", "fitting", "size"), [(60, 64, 32), (500, 64, 4), (5000, 64, 1), (60, 16, 16)])
def test_micro_batches_divide_a_step_within_memory_and_near_the_caches(
    row_tokens: int, fitting: int, size: int
) -> None:
    config = FullTrain(**runs.train_values(batch_size=32, accumulation_steps=2))
    assert rule(config, cpu=True, rows=64, row_tokens=row_tokens, fitting=fitting) == size
    config.micro_batch = 5
    assert rule(config, cpu=True, rows=64, row_tokens=row_tokens, fitting=fitting) == 4


def test_the_order_of_an_epoch_does_not_depend_on_what_was_drawn_before(start: load.Start, tmp_path: Path) -> None:
    from phi_runner.model.training.trainer import PhiTrainer

    sampler = _trainer(PhiTrainer, start, tmp_path)._get_train_sampler()
    orders = {}
    for epoch in (0, 1, 2, 1, 0):
        torch.rand(epoch + 1)
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(18))
        assert orders.setdefault(epoch, order) == order
    assert len({tuple(order) for order in orders.values()}) == 3
