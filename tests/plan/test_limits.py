"""Stated limits against the plan: which figure decides, what is said, and what a real run does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_runner import runner
from phi_runner.config.schema import FileData, LimitsConfig, RunConfig, StageName
from phi_runner.errors import LimitExceeded, MissingInput
from phi_runner.plan import limits
from phi_runner.plan.bands import Band, Estimates, Memory, Missing
from tests import runs


def band(low: float, likely: float, high: float, unit: str) -> Band:
    return Band(low=low, likely=likely, high=high, unit=unit, source="made up")


def estimates(**changes: Any) -> Estimates:
    memory = Memory(
        stage=StageName.train, processes=1, device="cpu", per_process=band(3, 4, 6, "GiB"), per_device=None, parts=(),
        available=Missing(what="no figure"), fits=None,
    )  # fmt: skip
    values: dict[str, Any] = {
        "counts": Missing(what="counts"), "tokens": Missing(what="tokens"), "memory": (memory,), "hours": {},
        "hours_total": band(1, 2, 4, "h"), "bills": (), "usd_total": band(0, 0, 0, "USD"),
        "usd_per_hour_after": band(0, 0, 0, "USD/h"), "prices_as_of": "",
    }  # fmt: skip
    return Estimates(**values | changes)


def judged(tmp_path: Path, found: Estimates, **stated: float) -> list[str]:
    config = runs.config(StageName.data, outputs=tmp_path, limits=LimitsConfig(**stated))
    return [limit.told for limit in limits.verdicts(config, found)]


def test_the_likely_figure_decides_and_a_band_beyond_the_limit_is_told(tmp_path: Path) -> None:
    config = runs.config(StageName.data, outputs=tmp_path, limits=LimitsConfig(max_hours=1.5))
    verdict = limits.verdicts(config, estimates())[0]
    assert verdict.exceeded
    assert verdict.told.startswith("limits.max_hours=1.5 is exceeded: the run needs about 2 h (1 to 4, made up)")
    assert verdict.told.endswith("or type limits.max_hours=4.2")
    assert judged(tmp_path, estimates(), max_hours=3) == ["limits.max_hours=3 may be exceeded: the run needs 1 to 4 h"]
    assert judged(tmp_path, estimates(), max_hours=5) == [""]


def test_memory_is_counted_in_gb_of_the_largest_process_or_device(tmp_path: Path) -> None:
    told = judged(tmp_path, estimates(), max_memory_gb=4.2)
    assert told[0].startswith("limits.max_memory_gb=4.2 is exceeded: a process of train needs about 4.29 GB")
    held = estimates().memory[0]
    device = replace(held, device="cuda", per_device=band(20, 30, 40, "GiB"))
    assert "a device of train" in judged(tmp_path, estimates(memory=(device,)), max_memory_gb=10)[0]
    assert judged(tmp_path, estimates(memory=()), max_memory_gb=1) == [""]


def test_a_missing_figure_is_named_and_stops_nothing(tmp_path: Path) -> None:
    unknown = estimates(usd_total=Missing(what="the price of X: type azure.prices.X=USD"))
    config = runs.config(StageName.data, outputs=tmp_path, limits=LimitsConfig(max_usd=1))
    verdict = limits.verdicts(config, unknown)[0]
    assert not verdict.exceeded
    assert verdict.told == "limits.max_usd=1 cannot be judged: the price of X: type azure.prices.X=USD"


def test_no_limit_is_no_verdict(tmp_path: Path) -> None:
    assert judged(tmp_path, estimates()) == []


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    data = FileData(train_file=str(runs.facts_file(tmp_path)))
    return runs.config(StageName.data, outputs=tmp_path / "outputs", data=data)


def _perform(config: RunConfig, folder: Path) -> dict[str, Any]:
    try:
        runner.perform(config, folder=folder, overrides=[], recipe="", trial=None)
    finally:
        plan: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    return plan


def test_a_run_says_its_plan_first_and_leaves_it(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = _perform(config, tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "plan: run data"
    assert lines[2].startswith("plan: about ")
    assert lines[2].endswith("nothing that bills")
    key = json.loads((tmp_path / "run" / "run.json").read_text())["stages"][0]["key"]
    assert [(stage["name"], stage["key"]) for stage in plan["stages"]] == [("data", key)]


def test_a_run_beyond_its_limit_stops_before_its_first_stage(config: RunConfig, tmp_path: Path) -> None:
    tight = replace(config, limits=LimitsConfig(max_hours=1e-9))
    with pytest.raises(LimitExceeded, match=r"limits\.max_hours=1e-09 is exceeded: the run needs about"):
        _perform(tight, tmp_path / "run")
    assert not (tmp_path / "outputs" / "store").exists()


def test_no_work_is_done_for_a_run_that_cannot_end(config: RunConfig, tmp_path: Path) -> None:
    gap = replace(config, stages=[StageName.data, StageName.evaluate])
    with pytest.raises(MissingInput, match=r"type: python -m phi_runner 'stages=\[data,train,evaluate\]'"):
        _perform(gap, tmp_path / "run")
    assert not (tmp_path / "outputs" / "store").exists()
