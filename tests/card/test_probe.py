"""The shipped text outside the task: enough, short, and nothing that the sample teaches."""

import json
from pathlib import Path

import pytest

from phi_runner.card import probe
from phi_runner.card.words import words
from phi_runner.config.schema import EvaluateConfig
from phi_runner.errors import DataProblem
from phi_runner.events import Events, StageEvents
from tests.data.chats import write_jsonl

EVENTS = StageEvents(Events(), "evaluate")
_SAMPLE = Path(probe.__file__).parents[1] / "data" / "sample.jsonl"


def test_the_shipped_text_shares_no_sentence_with_the_sample() -> None:
    found = probe.dialogues(EvaluateConfig(), from_scratch=False, events=EVENTS)
    assert len(found) >= 40
    taught = {tuple(words(turn["content"])) for line in _rows() for turn in line["messages"]}
    told = [tuple(words(turn["content"])) for dialogue in found for turn in dialogue]
    assert len(set(told)) == len(told)
    runs = {run for text in taught for run in zip(*(text[start:] for start in range(6)), strict=False)}
    assert not [text for text in told if any(run in runs for run in zip(*(text[n:] for n in range(6)), strict=False))]


def _rows() -> list[dict[str, list[dict[str, str]]]]:
    return [json.loads(line) for line in _SAMPLE.read_text(encoding="utf-8").splitlines()]


def test_a_file_of_ones_own_in_any_form(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "own.jsonl", [{"prompt": "a?", "completion": "b."}])
    [dialogue] = probe.dialogues(EvaluateConfig(probe_file=str(file)), from_scratch=False, events=EVENTS)
    assert [turn["content"] for turn in dialogue] == ["a?", "b."]
    assert probe.dialogues(EvaluateConfig(probe=False, probe_file=str(file)), from_scratch=False, events=EVENTS) == []
    shipped = probe.dialogues(EvaluateConfig(), from_scratch=True, events=EVENTS)
    assert len(shipped) == 12
    with pytest.raises(DataProblem, match=r"evaluate\.probe_file=.*does not exist"):
        probe.dialogues(EvaluateConfig(probe_file=str(tmp_path / "no.jsonl")), from_scratch=False, events=EVENTS)
