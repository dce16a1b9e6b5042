"""What a card must say before its model is registered, and what a refused one is told."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from phi_runner.card import content, gate
from phi_runner.card.content import Card
from phi_runner.card.figures import Figure
from phi_runner.config.schema import Gate
from phi_runner.errors import GateRefused
from tests.card.cards import card, gain, loss, shares

NAME = "finetune-phi-model"


def _refusal(made: Card, wanted: Gate) -> str:
    with pytest.raises(GateRefused) as refused:
        gate.hold(made, gate=wanted, name=NAME)
    text = str(refused.value)
    assert "\n" not in text
    assert refused.value.exit_code == 1
    assert "evaluate.gate=never" in text
    return text


def test_a_better_model_passes_and_the_line_has_the_figures() -> None:
    told = gate.hold(card(loss(3.0, 2.0), gain(1.0)), gate=Gate.better, name=NAME)
    assert told.startswith(
        "passes evaluate.gate=better: held-out loss 3.000 -> 2.000, difference -1.000 (95% interval -1.0"
    )


def test_a_worse_model_is_refused_in_figures() -> None:
    text = _refusal(card(loss(2.0, 3.0)), Gate.better)
    assert text.startswith(
        f"{NAME} is not registered: held-out loss 2.000 -> 3.000, difference +1.000 (95% interval +0.9"
    )
    assert "smaller train.learning_rate" in text
    assert "not_worse" not in text  # that would refuse it as well
    _refusal(card(loss(2.0, 3.0)), Gate.not_worse)


def test_no_change_passes_the_weaker_gate_alone() -> None:
    same = card(loss(2.0, 2.0))
    text = _refusal(same, Gate.better)
    assert "no change" in text
    assert "type evaluate.gate=not_worse or evaluate.gate=never" in text
    assert gate.hold(same, gate=Gate.not_worse, name=NAME)


def test_too_few_rows_ask_for_more() -> None:
    assert "data.eval_fraction" in _refusal(card(loss(3.0, 2.0, rows=3)), Gate.better)


def test_answers_that_ignore_their_questions_do_not_pass() -> None:
    text = _refusal(card(loss(7.0, 3.0), gain(0.0)), Gate.better)
    assert "its answers do not depend on the questions" in text
    assert "7.000 -> 3.000" in text
    assert gate.hold(card(loss(7.0, 3.0), gain(0.0, rows=8)), gate=Gate.better, name=NAME)  # too few to say so


@pytest.mark.parametrize(
    ("figures", "passes"),
    [
        ([loss(3.0, 2.0), loss(2.0, 4.0, name="probe")], False),
        ([loss(3.0, 2.0), loss(2.0, 4.0, name="probe", counts=False)], True),
        ([loss(3.0, 2.0), shares("exact", 0.9, 0.2)], False),
        ([loss(3.0, 2.0), shares("exact", 0.2, 0.9)], True),
    ],
)
def test_not_worse_looks_at_every_figure_that_counts(figures: Sequence[Figure], passes: bool) -> None:
    made = card(*figures)
    assert gate.hold(made, gate=Gate.better, name=NAME)  # what decides is better
    if passes:
        assert gate.hold(made, gate=Gate.not_worse, name=NAME)
    else:
        _refusal(made, Gate.not_worse)


def test_pairs_decide_after_preference_training() -> None:
    made = card(loss(2.0, 2.6), shares("preferred", 0.4, 1.0), decided_by="preferred")
    assert "40 % -> 100 %" in gate.hold(made, gate=Gate.better, name=NAME).replace("42 %", "40 %")


def test_never_asks_nothing() -> None:
    assert "whatever the card says" in gate.hold(card(loss(2.0, 9.0)), gate=Gate.never, name=NAME)


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = card(loss(2.0, 1000.0), gain(1.0), shares("exact", 0.0, 1.0))
    content.write(made, folder=tmp_path)
    assert "Infinity" not in (tmp_path / content.CARD_FILE).read_text()
    again = content.read(tmp_path)
    assert again is not None
    assert again.figures[0] == made.figures[0]
    assert again.verdict is made.verdict
    (tmp_path / content.CARD_FILE).write_text('{"figures": []}')
    assert content.read(tmp_path) is None
