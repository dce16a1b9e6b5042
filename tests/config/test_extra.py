"""`train.extra` is held against TRL's own arguments without importing TRL."""

import subprocess
import sys

import pytest

from phi_runner.config import extra
from phi_runner.config.habits import OWNED


def test_arguments_are_those_of_the_installed_trl() -> None:
    known = extra.arguments()
    assert known["neftune_noise_alpha"] == "float | None"
    assert {"max_steps", "optim", "packing_strategy", "dataset_num_proc"} <= set(known)
    assert len(known) > 100


def test_reading_them_imports_neither_trl_nor_transformers() -> None:
    code = (
        "import sys; from phi_runner.config import extra; extra.arguments();"
        "print([name for name in ('trl', 'transformers', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"neftune_noise_alpha": 5},
        {"neftune_noise_alpha": None},
        {"max_steps": 10, "optim": "adamw_torch"},
        {"lr_scheduler_kwargs": {"num_cycles": 2}},
        {"packing_strategy": "bfd", "dataloader_pin_memory": False},
    ],
)
def test_what_trl_takes_passes(good: dict[str, object]) -> None:
    assert list(extra.problems(good)) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("neftune_noise_alph", 5, "did you mean +train.extra.neftune_noise_alpha=5?"),
        ("max_step", 5, "did you mean +train.extra.max_steps=5?"),
        ("max_steps", "many", "TRL wants int"),
        ("max_steps", True, "TRL wants int"),
        ("dataloader_pin_memory", "yes", "TRL wants bool"),
        ("xyz", 1, "TRL has no argument 'xyz'"),
    ],
)
def test_what_trl_does_not_take_is_said(name: str, value: object, said: str) -> None:
    (problem,) = extra.problems({name: value})
    assert said in problem


@pytest.mark.parametrize("name", OWNED)
def test_what_is_ours_is_refused_with_its_name_here(name: str) -> None:
    (problem,) = extra.problems({name: 1})
    assert f"type {OWNED[name]}=1" in problem


def test_preference_training_takes_arguments_of_its_own() -> None:
    good = {"label_smoothing": 0.1, "loss_type": ["apo_zero"], "precompute_ref_log_probs": True}
    assert list(extra.problems(good, config="DPOConfig")) == []
    assert next(extra.problems({"label_smoothing": 0.1})) == "TRL has no argument 'label_smoothing'" + (
        ": did you mean +train.extra.label_smoothing_factor=0.1?"
    )
    (problem,) = extra.problems({"packing_strategy": "bfd"}, config="DPOConfig")
    assert problem.startswith("TRL has no argument 'packing_strategy'")
    (problem,) = extra.problems({"beta": 0.2}, config="DPOConfig")
    assert problem == "train.extra.beta is set through train.beta: type train.beta=0.2"


def test_without_trl_nothing_is_held_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "arguments", lambda _config: {})
    assert list(extra.problems({"anything": 1})) == []
