"""What the before/after card would miss is said before training."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from phi_runner.config import evaluation_check
from phi_runner.config.schema import EvaluateConfig, JudgeConfig, StageName
from tests import runs

URL = "https://judge.example/v1"


def _said(tmp_path: Path, evaluate: EvaluateConfig, *, stage: StageName = StageName.evaluate) -> list[str]:
    config = runs.config(stage, outputs=tmp_path)
    config.evaluate = evaluate
    return list(evaluation_check.problems(config))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"url": "judge.example"}, "is no address: type evaluate.judge.url=https://HOST/v1"),
        ({"url": "https://me:pass@judge.example/v1"}, "type evaluate.judge.url=https://judge.example/v1"),
        ({"url": URL, "key_env": "NO_SUCH_KEY"}, "type export NO_SUCH_KEY=..., or evaluate.judge.key_env="),
        ({"model": "m"}, "is asked nowhere"),
    ],
)
def test_a_judge_that_cannot_be_asked(tmp_path: Path, judge: dict[str, object], said: str) -> None:
    [problem] = [line for line in _said(tmp_path, EvaluateConfig(judge=JudgeConfig(**judge))) if said in line]  # type: ignore[arg-type]
    assert "pass@" not in problem


def test_a_judge_that_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "x")
    judge = JudgeConfig(url=URL, model="m", key_env="THE_KEY")
    assert _said(tmp_path, EvaluateConfig(judge=judge)) == []
    broken = EvaluateConfig(judge=JudgeConfig(url="nonsense"))
    assert _said(tmp_path, broken, stage=StageName.data) == []


def test_tasks_by_the_names_that_their_files_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = tmp_path / "lm_eval" / "tasks"
    harness.mkdir(parents=True)
    (harness / "arc.yaml").write_text("task: arc_easy\n")
    found = SimpleNamespace(origin=str(harness.parent / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: found)
    (tmp_path / "a.yaml").write_text("task: capitals\ntag:\n  - geography\n  - easy\n")
    (tmp_path / "b.yaml").write_text("group: world\ntask:\n  - capitals\n")
    (tmp_path / "_c_yaml").write_text('"tag": [maps, charts]\n')
    folder = str(tmp_path)
    for name in ("arc_easy", "capitals", "geography", "easy", "world", "maps", "charts"):
        assert _said(tmp_path, EvaluateConfig(tasks=[name], tasks_folder=folder)) == []
    [problem] = _said(tmp_path, EvaluateConfig(tasks=["arc_esy"], tasks_folder=folder))
    assert "there is no task 'arc_esy'" in problem
    assert "evaluate.tasks=[arc_easy]" in problem
    assert "is no folder" in _said(tmp_path, EvaluateConfig(tasks=["x"], tasks_folder=folder + "/no"))[0]


def test_tasks_without_the_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    [problem] = _said(tmp_path, EvaluateConfig(tasks=["arc_easy"]))
    assert "pip install 'phi-runner[lm_eval]'" in problem
