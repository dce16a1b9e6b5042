"""The search for the fastest micro-batch: nothing but the size changes, and an interrupted run keeps its choice."""

from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.config.schema import Choice, FullTrain, NanoModel
from phi_runner.events import Events, StageEvents
from phi_runner.model import load, tokens
from phi_runner.model.device import Device
from phi_runner.model.training import fit, micro, speed
from phi_runner.model.training.room import Room
from tests import runs

pytestmark = pytest.mark.filterwarnings("default")
_CPU = Device(name="cpu", bf16=False, why="test")


def _trainer(folder: Path, config: FullTrain) -> Any:
    nano = NanoModel(hidden_size=32, intermediate_size=64, layers=2, heads=2, vocab_size=450, context=256)
    start = load.start(nano, texts=[text for pair in runs.FACTS.items() for text in pair], seed=0, folder=folder)
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in runs.FACTS.items()]
    rows = tokens.tokenise(start.tokenizer, chats * 4, max_length=128)
    chosen = speed.choose(config, device=_CPU, model=start.model)
    start.model.set_attn_implementation(chosen.attention)
    room = Room(rows=8, checkpointed=False, why="")
    told = fit._arguments(
        config, chosen, room, device=_CPU, seed=0, folder=folder, lengths=[20] * len(chats), streamed=False
    )
    return fit._trainer(
        start.model, start.tokenizer, told, config, chosen, learnt=rows.dataset, measured=rows.dataset, device=_CPU
    )


def _settle(trainer: Any, config: FullTrain, folder: Path) -> str:
    events, heard = Events(), runs.Heard()
    events.listen(heard.events.append)
    micro.settle(
        trainer, config=config, fitting=8, folder=folder, device=_CPU, events=StageEvents(events, "train")
    )  # fmt: skip
    return heard.text()


def _step(trainer: Any) -> tuple[int, int]:
    return trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps


def test_a_search_leaves_weights_chance_and_counters_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro, "_WORTH_S", 0.0)  # every run is long enough
    monkeypatch.setattr(micro, "_SEARCH_SHARE", 1e9)
    config = FullTrain(**runs.train_values(compile=Choice.never))
    trainer = _trainer(tmp_path, config)
    before = [weight.clone() for weight in trainer.model.parameters()]
    state = torch.random.get_rng_state()
    said = _settle(trainer, config, tmp_path / "checkpoints")
    assert "a row takes, by rows at once, 4: " in said
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))
    assert all(weight.grad is None for weight in trainer.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert trainer._total_train_tokens == 0
    assert not trainer._metrics["train"]
    size, pieces = _step(trainer)
    assert size * pieces == 8


def test_an_interrupted_run_keeps_what_it_had_chosen(tmp_path: Path) -> None:
    config = FullTrain(**runs.train_values())
    trainer = _trainer(tmp_path, config)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "micro_batch.json").write_text("[2, false]")
    assert _settle(trainer, config, tmp_path / "checkpoints") == ""
    assert _step(trainer) == (2, 4)


def test_a_short_run_takes_the_rules_size(tmp_path: Path) -> None:
    config = FullTrain(**runs.train_values(epochs=1))
    trainer = _trainer(tmp_path, config)
    assert "too short to search" in _settle(trainer, config, tmp_path / "checkpoints")
    assert _step(trainer) == (8, 1)


@pytest.mark.parametrize(
    ("rope", "longest", "apart"),
    [("longrope", 4097, True), ("longrope", 4096, False), ("default", 9000, False)],
)
def test_long_dialogues_of_a_long_context_model_share_a_row_with_nobody(rope: str, longest: int, apart: bool) -> None:
    from transformers import Phi3Config, Phi3ForCausalLM

    parameters: dict[str, Any] = {"rope_type": rope, "rope_theta": 10000.0}
    if rope == "longrope":
        parameters |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 4096}
    shape = Phi3Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        num_key_value_heads=2, max_position_embeddings=131072, original_max_position_embeddings=4096,
        rope_parameters=parameters,
    )  # fmt: skip
    heard, events = runs.Heard(), Events()
    events.listen(heard.events.append)
    config = FullTrain(**runs.train_values(packing=True))
    kept = fit._one_at_a_time(Phi3ForCausalLM(shape), config, longest=longest, events=StageEvents(events, "train"))
    assert (kept.packing, kept.micro_batch) == ((False, 1) if apart else (True, 0))
    assert ("one at a time" in heard.text()) is apart
