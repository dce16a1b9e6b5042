"""Tasks of the real LM Evaluation Harness, its rows and its YAML in a local folder, on a tiny model."""

import json
from pathlib import Path

import pytest

from phi_runner.card import harness, task_figures
from phi_runner.card.harness import Score
from phi_runner.config.schema import EvaluateConfig
from phi_runner.errors import EvaluateFailed
from phi_runner.model import load
from phi_runner.model.device import Device
from tests.card.cards import CHANCE

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("default")
_CPU = Device(name="cpu", bf16=False, why="a test")
_TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["Paris", "Rome"]
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of one's own: one that works and one whose rows are nowhere."""
    place = tmp_path_factory.mktemp("tasks")
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"Capital {n}?", "answer": n % 2}) + "\n" for n in range(12)))
    (place / "capitals.yaml").write_text(_TASK.format(name="capitals", file=rows))
    (place / "lost.yaml").write_text(_TASK.format(name="lost", file=place / "nowhere.jsonl"))
    return place


def test_before_and_after_with_the_harness_own_errors(folder: Path, tiny_model: Path) -> None:
    config = EvaluateConfig(tasks=["capitals"], tasks_folder=str(folder), task_rows=10)
    tasks = harness.prepare(config)
    assert tasks is not None
    model, tokenizer = load.pretrained(str(tiny_model))
    [score] = harness.measure(tasks, model, tokenizer, batch_size=4, device=_CPU)
    assert (score.task, score.metric, score.rows, score.higher_is_better) == ("capitals", "acc", 10, True)
    assert sum(score.samples) / 10 == pytest.approx(score.value)
    assert score.stderr == pytest.approx((score.value * (1 - score.value) / 9) ** 0.5, abs=1e-6)
    [figure] = task_figures.of_tasks([score], [score], chance=CHANCE)
    assert (figure.name, figure.before, figure.difference, figure.unit) == ("capitals/acc", score.value, 0.0, "share")
    assert (figure.stderr_before, figure.stderr_after) == (score.stderr, score.stderr)
    assert figure.low < 0 < figure.high


def test_a_task_whose_rows_cannot_be_had_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(EvaluateFailed, match=r"the task lost cannot be loaded: .*evaluate\.tasks_folder") as refused:
        harness.prepare(EvaluateConfig(tasks=["lost"], tasks_folder=str(folder)))
    assert "\n" not in str(refused.value)


def test_nobody_asks_for_tasks() -> None:
    assert harness.prepare(EvaluateConfig()) is None


def test_a_score_without_rows_goes_by_its_errors() -> None:
    early = Score(task="t", metric="bleu", value=10.0, stderr=1.0, higher_is_better=True, rows=50, samples=[])
    late = Score(task="t", metric="bleu", value=20.0, stderr=1.0, higher_is_better=True, rows=50, samples=[])
    [figure] = task_figures.of_tasks([early], [late], chance=CHANCE)
    assert figure.verdict == "better"
    assert figure.low == pytest.approx(10 - 1.96 * 2**0.5, abs=0.01)
    assert figure.note.startswith("not paired")
    unsure = Score(task="t", metric="bleu", value=20.0, stderr=None, higher_is_better=True, rows=50, samples=[])
    [figure] = task_figures.of_tasks([early], [unsure], chance=CHANCE)
    assert figure.verdict == "too few rows to tell"
