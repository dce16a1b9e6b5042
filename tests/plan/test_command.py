"""`plan=true` and `plan=json` as they are typed: what they print, and all that they leave undone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi_runner.config import endings, flags, planning
from phi_runner.config.launch import launch
from phi_runner.config.precheck import precheck
from phi_runner.plan import answer

_SUBSCRIPTION = "azure.subscription=11111111-2222-3333-4444-555555555555"
_CLOUD = ["compute=azure_gpu", "deploy=azure", "flow=foundry", _SUBSCRIPTION]
_LINES = [
    ["+recipe=full", "plan=true"],
    ["+recipe=full", *_CLOUD, "plan=true"],
    ["+recipe=tutorial_foundry", "azure=rehearsal", "plan=true"],
    ["+recipe=tutorial_code_first", "plan=true"],
    ["+recipe=teardown", "plan=true"],
    ["+recipe=chat", "plan=true"],
    ["-m", "+recipe=train_only", "train.learning_rate=1e-3,2e-3", "seed=0,1", "plan=true"],
    ["+recipe=train_only", "plan=json"],
]


def typed(*words: str) -> int:
    """Do what a command line says as the entry point does."""
    with pytest.raises(SystemExit) as caught, endings.told():
        raise SystemExit(launch(flags.read(words), runner=_no_run, planner=lambda: answer))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _no_run() -> Any:
    raise AssertionError("a plan runs nothing")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what all command lines did in one process, in a folder that stays empty."""
    folder = tmp_path_factory.mktemp("watched")
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "80"}
    environment["HOME"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.plan.watched", json.dumps(_LINES)], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_plans_open_no_socket_write_nothing_and_load_nothing_heavy(watched: dict[str, Any]) -> None:
    assert watched["heavy"] == []
    assert [line["code"] for line in watched["lines"]] == [0, 0, 0, 1, 0, 1, 0, 0]


def test_a_plan_fits_eighty_columns(watched: dict[str, Any]) -> None:
    for line in watched["lines"][:-1]:
        assert max(len(row) for row in line["out"].splitlines()) <= 80


def test_the_plan_of_a_run_in_azure_names_cores_bills_and_things(watched: dict[str, Any]) -> None:
    text = watched["lines"][1]["out"]
    for said in ("finds or makes  workspace", "Standard NCADSA100v4 Family", "list prices of", "after the run"):
        assert said in text


def test_a_recipe_that_cannot_run_here_is_planned_and_says_why(watched: dict[str, Any]) -> None:
    first, chat = watched["lines"][3]["out"], watched["lines"][5]["out"]
    assert "compute=gpu: this machine has no CUDA device: type compute=cpu" in " ".join(first.split())
    assert "which is not selected, and none is stored" in " ".join(chat.split())
    assert first.splitlines()[-1] == chat.splitlines()[-1] == "the run as typed would stop: see above"


def test_trials_are_planned_in_short_and_share_what_they_can(watched: dict[str, Any]) -> None:
    text = watched["lines"][6]["out"]
    assert text.startswith("plan of 4 trials: nothing is done")
    assert text.count("train.learning_rate=0.001") == 2
    assert "one trial after the other" in text


def test_json_is_one_document_with_a_version(watched: dict[str, Any]) -> None:
    plan = json.loads(watched["lines"][7]["out"])
    assert (plan["version"], plan["stops"]) == (1, False)
    assert [stage["verdict"] for stage in plan["stages"]] == ["skip", "run", "run", "run"]
    assert set(plan["estimates"]["hours_total"]) == {"low", "likely", "high", "unit", "source"}


def test_an_unknown_size_is_planned_with_its_figures_missing(capsys: pytest.CaptureFixture[str]) -> None:
    stages = "stages=[infra,data,train]"
    assert typed("compute=azure_gpu", "compute.vm_size=Standard_Foo", _SUBSCRIPTION, stages, "plan=json") == 1
    plan = json.loads(capsys.readouterr().out)
    assert any("Standard_Foo" in line for line in plan["estimates"]["missing"])
    assert any("is no size that is known" in line for line in plan["problems"])
    assert typed("compute=azure_gpu", "compute.vm_size=Standard_Foo", _SUBSCRIPTION, stages) == 1
    assert "is no size that is known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("plan=jsn", "plan=jsn is none of true, json, false: did you mean plan=json?"),
        ("plan=ture", "plan=ture is none of true, json, false: did you mean plan=true?"),
        ("limits.max_usd=-1", "limits.max_usd=-1.0 is out of range, at least 0: type limits.max_usd=10"),
        ("limits.max_hours=0", "limits.max_hours=0.0 is out of range, more than 0: type limits.max_hours=2"),
    ],
)
def test_wrong_values_are_refused_with_the_right_one(
    word: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("+recipe=train_only", word) == 1
    assert capsys.readouterr().err == f"phi_runner: {told}\n"
    assert list(folder.iterdir()) == []


def test_a_limit_that_is_exceeded_is_told_by_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("+recipe=train_only", "limits.max_hours=1e-6", "plan=true") == 1
    assert "limits.max_hours=1e-06 is exceeded: the run needs about" in " ".join(capsys.readouterr().out.split())


def test_of_very_many_trials_the_first_are_planned() -> None:
    checked = precheck(flags.read(["-m", "+recipe=check_data", f"seed=range(0,{planning.MOST + 1})", "plan=true"]))
    assert (checked.trials, len(checked.asked)) == (planning.MOST + 1, planning.MOST)
