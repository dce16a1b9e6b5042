"""The launchers that run trials side by side, really used where they are installed."""

import json
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from phi_runner.config import launchers
from phi_runner.config.launchers import LAUNCHERS
from phi_runner.errors import ConfigProblem
from tests.sweep import typed

INSTALLED = [name for name in LAUNCHERS if not launchers.problem(name, multirun=True) and name != "submitit_slurm"]


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_trials_run_side_by_side_and_a_failed_one_is_told(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"neither": "fish"}\n' * 9)
    typed.line(tmp_path)
    words = (f"data.eval_file={bad},{tmp_path / 'facts.jsonl'}", "seed=1,2", "stages=[data]", f"hydra/launcher={name}")
    process = typed.started(tmp_path, *words)
    told = process.communicate(timeout=280)[0]
    assert process.returncode == 1, told
    found = typed.trials(tmp_path).values()
    assert sorted(trial["status"] for trial in found) == ["done", "done", "failed", "failed"], told
    assert told.count(": started on ") == 4
    assert told.count("bad.jsonl) ") == 0
    assert "Traceback" not in told
    assert {trial["pid"] for trial in found}.isdisjoint({process.pid})


@pytest.mark.slow
@pytest.mark.skipif("joblib" not in INSTALLED, reason="hydra-joblib-launcher is not installed")
def test_what_is_shared_is_done_once_and_another_launcher_goes_on(tmp_path: Path) -> None:
    words = ("evaluate.prompts=2,3,4,5", "stages=[data]")
    process = typed.started(tmp_path, *words, "hydra/launcher=joblib")
    told = process.communicate(timeout=280)[0]
    assert process.returncode == 0, told
    assert typed.ways(tmp_path, "data") == {"done": 1, "reused": 3}
    assert typed.swept(tmp_path, *words, "evaluate.prompts=5,4,3,2") == 0
    assert sorted(typed.begun(tmp_path).values()) == [1] * 4


@pytest.mark.slow
@pytest.mark.skipif("joblib" not in INSTALLED, reason="hydra-joblib-launcher is not installed")
def test_ending_the_sweep_ends_its_trials(tmp_path: Path) -> None:
    process = typed.started(tmp_path, "train.epochs=500,501,502", *typed.TINY, "hydra/launcher=joblib")

    def two_are_running() -> bool:
        found = [json.loads(file.read_text()) for file in tmp_path.glob("out/sweeps/*/*/trial.json")]
        return [trial["status"] for trial in found].count("running") == 2

    told = typed.killed(process, when=two_are_running, number=signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert "type the same command to continue" in told
    assert "Traceback" not in told
    assert len(typed.trials(tmp_path)) == 2


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_missing_extra_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "find_spec", lambda module: None if "." in module else find_spec(module))
    said = launchers.problem(name, multirun=True)
    assert said.endswith(f"type pip install 'phi-runner[{LAUNCHERS[name].extra}]'")


@pytest.mark.parametrize("name", INSTALLED)
def test_a_launcher_without_a_sweep_is_refused(name: str) -> None:
    with pytest.raises(ConfigProblem, match="add -m"):
        typed.refused([f"hydra/launcher={name}"])


def test_each_trial_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phi_runner.config.cores.os.sched_getaffinity", lambda _pid: set(range(12)))
    config = typed.launcher_settings("joblib", "hydra.launcher.n_jobs=3")
    assert launchers.cores_each("joblib", config) == 4
    assert launchers.cores_each("joblib", typed.launcher_settings("joblib", "hydra.launcher.n_jobs=-1")) == 1
    assert launchers.cores_each("ray", typed.launcher_settings("ray")) == 6
    assert launchers.cores_each("submitit_slurm", typed.launcher_settings("submitit_slurm")) == 8
