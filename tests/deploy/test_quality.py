"""The quality gate: who passes, who does not and what is told, and when there is nothing to compare with."""

from pathlib import Path

import pytest

from phi_runner.deploy import quality
from phi_runner.deploy.quality import HeldOut
from phi_runner.errors import DeployFailed
from tests.deploy.rig import Heard, held_out


def examined(file: Path | None, said: dict[str, str | None], *, floor: float = 0.75, most: int = 8) -> str:
    """Hold answers by the prompt's last word against a file; return what was told."""
    heard = Heard()

    def ask(held: HeldOut) -> str | None:
        return said[held.messages[-1]["content"].split()[-1]]

    gate = quality.read(file, most=most, floor=floor)
    quality.examine(gate, ask, name="green", events=heard.events)
    return heard.text


def test_the_share_decides_and_space_around_an_answer_does_not(tmp_path: Path) -> None:
    file = held_out(tmp_path / "answers.jsonl", "Paris.")
    assert "3 of 4 held-out prompts" in examined(file, {"0": " Paris.\n", "1": "Paris.", "2": "Paris.", "3": "Rome."})
    with pytest.raises(DeployFailed) as caught:
        examined(file, {"0": "Paris.", "1": "Paris", "2": "Rome.", "3": "Paris."})
    assert str(caught.value) == (
        "green answers only 2 of 4 held-out prompts as the evaluated model did (50%), fewer than "
        "deploy.quality_floor=0.75: 'held out 1' -> 'Paris' instead of 'Paris.'"
    )
    assert "2 of 4" in examined(file, {"0": "Paris.", "1": "Paris", "2": "Rome.", "3": "Paris."}, floor=0.5)


def test_only_so_many_are_asked_and_what_the_endpoint_refuses_does_not_count(tmp_path: Path) -> None:
    file = held_out(tmp_path / "answers.jsonl", "Paris.", count=9)
    assert "1 of 1" in examined(file, {"0": "Paris.", "1": None}, most=2, floor=1.0)
    assert "takes none of the held-out prompts" in examined(file, {"0": None}, most=1)


@pytest.mark.parametrize(("there", "most"), [(False, 8), (True, 0)])
def test_without_answers_or_by_wish_there_is_no_gate_and_it_says_so(tmp_path: Path, there: bool, most: int) -> None:
    file = held_out(tmp_path / "answers.jsonl", "Paris.") if there else None
    assert "no quality gate" in examined(file, {}, most=most)
