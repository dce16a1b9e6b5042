"""What is chosen for speed and memory, with its reason; what was typed stays; what is not there is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.config.schema import Attention, Choice, FullTrain, Loss, Optimizer, Speed, TrainConfig, Weights
from phi_runner.errors import TrainFailed
from phi_runner.model import load
from phi_runner.model.device import Device
from phi_runner.model.training import memory, speed, weights
from phi_runner.model.training.room import Need, what_fits
from tests import runs
from tests.tiny import make_model_folder

pytestmark = pytest.mark.filterwarnings("default")
_CPU = Device(name="cpu", bf16=False, why="test")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load.pretrained(str(make_model_folder(tmp_path_factory.mktemp("model"))))[0]


def _config(**changes: Any) -> TrainConfig:
    return FullTrain(**runs.train_values(**changes))


def test_on_a_processor_nothing_is_padded_and_no_logits_are_kept(model: Any) -> None:
    chosen = speed.choose(_config(), device=_CPU, model=model)
    assert (chosen.end_to_end, chosen.fused_loss, chosen.keep_memory) == (True, True, True)
    told = [str(setting) for setting in chosen.said]
    assert told[0].startswith("train.attention=varlen: dialogues lie end to end")
    assert all(": " in line for line in told)


def test_what_was_typed_stays_and_library_leaves_all_to_trl(model: Any) -> None:
    typed = _config(attention=Attention.sdpa, loss=Loss.library, keep_memory=Choice.never, optimizer=Optimizer.adamw)
    for config in (typed, _config(speed=Speed.library, optimizer=Optimizer.adamw)):
        chosen = speed.choose(config, device=_CPU, model=model)
        assert (chosen.attention, chosen.end_to_end, chosen.fused_loss) == ("sdpa", False, False)
        assert (chosen.keep_memory, chosen.optimizer) == (False, "adamw_torch")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention": Attention.flash}, r"train\.attention=flash: this is a processor; type train\.attention=varlen"),
        ({"optimizer": Optimizer.adamw_8bit}, r"this is a processor; type train\.optimizer=adamw_fused"),
        ({"loss": Loss.fused, "extra": {"loss_type": "dft"}}, r"asks for another loss; type train\.loss=library"),
    ],
)
def test_what_this_machine_does_not_have_is_refused(model: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainFailed, match=said):
        speed.choose(_config(**changes), device=_CPU, model=model)


def test_what_a_token_keeps_is_measured_and_memory_decides(model: Any) -> None:
    before = torch.random.get_rng_state()
    need = memory.need(model, device=_CPU, adapters=None)
    assert torch.equal(torch.random.get_rng_state(), before)
    # at least: the layers' inputs and outputs, the fused projections, each in fp32
    assert need.per_token > 4 * 2 * (4 * 32 + 3 * 32 + 3 * 64)
    assert need.per_token_checkpointed < need.per_token
    assert need.fixed > 3 * 4 * sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("free", "rows", "checkpointed"), [(10_000, 8, False), (3_500, 2, False), (1_500, 4, True), (1_150, 1, True)]
)
def test_activations_are_computed_again_only_when_memory_needs_it(free: int, rows: int, checkpointed: bool) -> None:
    need = Need(fixed=1_000, per_token=10.0, per_token_checkpointed=1.0)
    room = what_fits(_config(), need=need, free=free, rows=8, row_tokens=100)
    assert (room.rows, room.checkpointed) == (rows, checkpointed)


def test_a_row_that_fits_in_no_way_is_refused_with_what_would(tmp_path: Path) -> None:
    need = Need(fixed=2**30, per_token=2.0**20, per_token_checkpointed=2.0**20)
    with pytest.raises(TrainFailed, match=r"needs about 3\.0 GiB for one row of 2048 tokens, 2\.0 GiB are free"):
        what_fits(_config(), need=need, free=2**31, rows=8, row_tokens=2048)


def test_bf16_weights_at_the_tutorials_rate_do_not_move_and_it_says_so(tmp_path: Path) -> None:
    """The tutorial trains pure bf16 weights at 5e-6; the share that is told is the share that really stays."""
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 200, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    model = Phi3ForCausalLM(Phi3Config(**shape, num_attention_heads=4, pad_token_id=0, bos_token_id=1, eos_token_id=2))
    told: list[str] = []
    weights.cast(model, _config(weights=Weights.bf16, learning_rate=5e-6), warn=told.append)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-6, weight_decay=0.0)
    ids = torch.randint(3, 200, (2, 32))
    model(input_ids=ids, labels=ids).loss.backward()
    optimiser.step()
    moved = [(old != new) & (new.grad != 0) for old, new in zip(before, model.parameters(), strict=True)]
    stayed = 1 - sum(int(part.sum()) for part in moved) / sum(int((w.grad != 0).sum()) for w in model.parameters())
    assert stayed > 0.85
    assert weights.frozen_share(model, rate=5e-6) == pytest.approx(stayed, abs=0.05)
    assert "too small to change 9" in told[0]
    assert weights.frozen_share(model, rate=1e-2) < 0.05
