"""Preference training for real, on a tiny model that knows two ways to answer: it comes to prefer the chosen one."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from phi_runner.config.resuming import Settings
from phi_runner.config.schema import DpoTrain, FullTrain, NanoModel, PreferenceLoss
from phi_runner.errors import TrainFailed
from phi_runner.events import Events, StageEvents
from phi_runner.model import load, merge, pairs, tokens
from phi_runner.model.device import Device
from phi_runner.model.pairs import Pair, TokenPairs
from phi_runner.model.training import dpo, fit
from tests import runs

pytestmark = pytest.mark.filterwarnings("default")
_CPU = Device(name="cpu", bf16=False, why="test")


def _said(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


PAIRS: list[Pair] = [
    {"prompt": _said("user", q), "chosen": _said("assistant", f"Yes, {a}"), "rejected": _said("assistant", a)}
    for q, a in runs.FACTS.items()
]
_SETTINGS = Settings(decisive={"train.kind": "dpo"})


class _Sink:
    """Metrics, kept."""

    def __init__(self, *, stop_at: int = 0) -> None:
        self.found: list[dict[str, float]] = []
        self._stop_at = stop_at

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        """Keep them; the power goes at a step, if one was named."""
        self.found.append(values | {"step": step})
        if self._stop_at and step == self._stop_at:
            raise ConnectionResetError("power cut")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny matrices: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that was taught both answers to every question."""
    folder = tmp_path_factory.mktemp("first_step")
    nano = NanoModel(hidden_size=32, intermediate_size=64, layers=2, heads=2, vocab_size=450, context=256)
    chats = [[*pair["prompt"], *pair[side]] for pair in PAIRS for side in ("chosen", "rejected")]
    start = load.start(nano, texts=[m["content"] for chat in chats for m in chat], seed=0, folder=folder)
    rows = tokens.tokenise(start.tokenizer, chats, max_length=128)
    done = fit.fit(
        start.model, start.tokenizer, train_rows=rows, eval_rows=rows, device=_CPU, seed=0, folder=folder / "steps",
        config=FullTrain(**runs.train_values(epochs=20)), events=StageEvents(Events(), "train"), sink=_Sink(),
        settings=_SETTINGS,
    )  # fmt: skip
    load.save(done.model, start.tokenizer, folder=folder / "model")
    return folder / "model"


def _config(**changes: Any) -> DpoTrain:
    lora = {name: changes.pop(name) for name in ("beta", "preference_loss", "all_weights") if name in changes}
    values = {"epochs": 12, "batch_size": 4, "learning_rate": 5e-3, "log_steps": 1, "save_steps": 5} | changes
    return DpoTrain(**runs.train_values(**values), rank=8, alpha=16, **lora)


def _train(
    place: Path, folder: Path, *, config: DpoTrain, sink: _Sink | None = None, rows: list[Pair] = PAIRS
) -> fit.Training:
    model, tokenizer = load.pretrained(str(place))
    found = pairs.tokenise(tokenizer, rows, max_length=128)
    return dpo.fit(
        model, tokenizer, train_pairs=found, eval_pairs=found, config=config, device=_CPU, seed=0, folder=folder,
        events=StageEvents(Events(), "train"), sink=sink or _Sink(), settings=_SETTINGS,
    )  # fmt: skip


def _preferred(model: Any, place: Path) -> float:
    _model, tokenizer = load.pretrained(str(place))
    found = pairs.tokenise(tokenizer, PAIRS, max_length=128)
    preferred = pairs.preferred(model, found, pad=tokenizer.pad_token_id, batch_size=4, device=_CPU)
    return sum(preferred) / len(preferred)


@pytest.fixture(scope="module")
def adapted(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[fit.Training, Path, _Sink]:
    sink, folder = _Sink(), tmp_path_factory.mktemp("adapted")
    return _train(trained, folder, config=_config(), sink=sink), folder, sink


def test_an_adapter_learns_to_prefer_the_chosen_answers(
    adapted: tuple[fit.Training, Path, _Sink], trained: Path
) -> None:
    training, _folder, sink = adapted
    base, _tokenizer = load.pretrained(str(trained))
    assert _preferred(base, trained) == 0.0
    assert _preferred(training.model, trained) == 1.0
    lines = [line for line in training.history if "rewards/margins" in line]
    assert lines[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)  # the model is its own reference at first
    assert (lines[0]["rewards/margins"], lines[-1]["rewards/accuracies"]) == (0.0, 1.0)
    assert lines[-1]["rewards/margins"] > 0.1
    assert training.losses()[-1] < training.losses()[0]
    assert any("eval_rewards/accuracies" in line for line in sink.found)
    assert training.steps == 24


def test_what_is_saved_is_the_adapter_and_merges_to_the_same_preference(
    adapted: tuple[fit.Training, Path, _Sink], trained: Path, tmp_path: Path
) -> None:
    training, _folder, _sink = adapted
    training.model.peft_config["default"].base_model_name_or_path = str(trained)
    load.save(training.model, load.pretrained(str(trained))[1], folder=tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model.safetensors").exists()
    merged, _tokenizer = merge.trained(tmp_path, adapter=True, base=str(trained), revision="")
    assert _preferred(merged, trained) == 1.0


def test_a_resumed_training_ends_with_the_same_weights(
    adapted: tuple[fit.Training, Path, _Sink], trained: Path, tmp_path: Path
) -> None:
    training, _folder, _sink = adapted
    with pytest.raises(ConnectionResetError):
        _train(trained, tmp_path, config=_config(), sink=_Sink(stop_at=13))
    assert (tmp_path / "checkpoint-10").is_dir()
    again = _train(trained, tmp_path, config=_config())
    for (name, one), (_same, other) in zip(
        training.model.named_parameters(), again.model.named_parameters(), strict=True
    ):
        assert one.equal(other), name
    assert again.losses() == training.losses()


def test_all_weights_are_compared_with_a_copy_that_stays(trained: Path, tmp_path: Path) -> None:
    training = _train(trained, tmp_path, config=_config(all_weights=True, learning_rate=3e-3, epochs=10))
    assert not hasattr(training.model, "peft_config")
    assert training.losses()[0] == pytest.approx(math.log(2), rel=1e-5)
    assert _preferred(training.model, trained) == 1.0


@pytest.mark.parametrize(
    ("changes", "first_loss"),
    [
        ({"preference_loss": PreferenceLoss.hinge}, 1.0),
        ({"preference_loss": PreferenceLoss.ipo, "beta": 0.5}, 1.0),
        ({"preference_loss": PreferenceLoss.robust}, math.log(2)),
        ({"extra": {"loss_type": ["apo_zero"]}}, 1.0),
        ({"extra": {"precompute_ref_log_probs": True}, "all_weights": True}, math.log(2)),
    ],
)
def test_other_losses_begin_where_they_must(
    trained: Path, tmp_path: Path, changes: dict[str, Any], first_loss: float
) -> None:
    training = _train(trained, tmp_path, config=_config(epochs=1, **changes))
    assert training.losses()[0] == pytest.approx(first_loss, rel=1e-5)


def test_a_step_is_split_into_micro_batches_of_pairs_and_stays_the_same_step(trained: Path, tmp_path: Path) -> None:
    losses = [
        _train(trained, tmp_path / str(micro), config=_config(epochs=3, batch_size=6, micro_batch=micro)).losses()
        for micro in (2, 6)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("lengths", "micro_batch", "micro"), [([60], 0, 16), ([500], 0, 2), ([5000], 0, 1), ([60], 3, 2)]
)
def test_micro_batches_stay_near_the_caches(lengths: list[int], micro_batch: int, micro: int) -> None:
    config = _config(batch_size=16, accumulation_steps=2, micro_batch=micro_batch)
    found = dpo._batches(config, _CPU, lengths=lengths)
    assert found["per_device_train_batch_size"] == micro
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == 32


def test_a_loss_that_is_no_number_stops_the_training(trained: Path, tmp_path: Path) -> None:
    wild = _config(
        all_weights=True, max_grad_norm=1e30, extra={"optim": "sgd", "warmup_steps": 0, "learning_rate": 1e25}
    )
    with pytest.raises(TrainFailed, match=r"train\.learning_rate"):
        _train(trained, tmp_path, config=wild)


def _tokenised(trained: Path, rows: list[Pair], *, max_length: int) -> tuple[TokenPairs, Callable[[list[int]], str]]:
    _model, tokenizer = load.pretrained(str(trained))
    return pairs.tokenise(tokenizer, rows, max_length=max_length), tokenizer.decode


def test_answers_begin_where_the_question_ends_and_end_with_their_marker(trained: Path) -> None:
    found, text = _tokenised(trained, PAIRS[:1], max_length=128)
    assert text(found.prompt_ids[0]).endswith("<|assistant|>")
    assert text(found.chosen_ids[0]) == "Yes, Bill Gates and Paul Allen.<|end|><|endoftext|>"
    assert text(found.rejected_ids[0]) == "Bill Gates and Paul Allen.<|end|><|endoftext|>"
    assert found.lengths() == [len(row) for row in found.dialogues()]


def test_what_does_not_fit_is_cut_or_dropped_and_counted(trained: Path) -> None:
    same = "the very same words come before the difference, " * 4
    told = [("Go on?", same + "a", same + "b"), (same, "a", "b"), ("Go on?", same, "no " + same)]
    long: list[Pair] = [
        {"prompt": _said("user", asked), "chosen": _said("assistant", one), "rejected": _said("assistant", other)}
        for asked, one, other in told
    ]
    found, _text = _tokenised(trained, [*PAIRS, *long], max_length=40)
    assert (len(found.prompt_ids), found.shortened, found.dropped) == (len(PAIRS) + 1, 1, 2)
    assert max(found.lengths()) == 40


def test_log_likelihoods_do_not_depend_on_the_batch(trained: Path) -> None:
    model, tokenizer = load.pretrained(str(trained))
    found = pairs.tokenise(tokenizer, PAIRS, max_length=128)
    sums = [
        pairs._log_likelihoods(model, found.prompt_ids, found.chosen_ids, pad=0, batch_size=size, device=_CPU)
        for size in (1, 4)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
