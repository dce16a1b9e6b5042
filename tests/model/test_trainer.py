"""Our trainer against TRL's: the same loss and gradient by a shorter way, and an order that a resumed run repeats."""

from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.config.schema import FullTrain, NanoModel
from phi_runner.model import load, sft, tokens
from phi_runner.model.device import Device
from phi_runner.model.tokens import IGNORED
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
    config = FullTrain(**runs.train_values(**changes))
    arguments = sft._arguments(config, device=_CPU, seed=0, folder=folder, lengths=[20])
    arguments.eval_strategy = "no"
    rows = sft._dataset(_rows(start))
    return kind(model=start.model, args=arguments, processing_class=start.tokenizer, train_dataset=rows)


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

    from phi_runner.model.trainer import PhiTrainer

    sequential = {"extra": changes.get("extra", {}) | {"train_sampling_strategy": "sequential"}}
    found = [
        _loss_and_gradient(_trainer(kind, start, tmp_path, **changes | sequential), start.model)
        for kind in (SFTTrainer, PhiTrainer)
    ]
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert torch.allclose(found[1][1], found[0][1], atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "packing", "micro"), [([60], False, 32), ([500], False, 8), ([5000], False, 1), ([60], True, 1)]
)
def test_a_step_is_split_but_stays_the_same_step(lengths: list[int], packing: bool, micro: int) -> None:
    config = FullTrain(**runs.train_values(batch_size=32, packing=packing, accumulation_steps=2))
    found = sft._batches(config, _CPU, lengths=lengths)
    assert found["per_device_train_batch_size"] == micro
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == 64


def test_the_order_of_an_epoch_does_not_depend_on_what_was_drawn_before(start: load.Start, tmp_path: Path) -> None:
    from phi_runner.model.trainer import PhiTrainer

    sampler = _trainer(PhiTrainer, start, tmp_path)._get_train_sampler()
    orders = {}
    for epoch in (0, 1, 2, 1, 0):
        torch.rand(epoch + 1)
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(18))
        assert orders.setdefault(epoch, order) == order
    assert len({tuple(order) for order in orders.values()}) == 3
