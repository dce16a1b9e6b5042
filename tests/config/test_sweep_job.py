"""A multirun as one sweep job: what is refused before anything runs, and the one run that Hydra is started for."""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phi_runner.config import flags
from phi_runner.config.launch import launch
from phi_runner.config.schema import RunConfig
from phi_runner.errors import ConfigProblem, SweepWouldDeploy

pytest.importorskip("azure.ai.ml")
_JOB = "compute=azure_cpu azure=rehearsal azure.sweep=true"
_STAGES = "stages=[infra,data,train]"
_RATES = "train.learning_rate=1e-3,2e-3"


@dataclass
class Stages:
    """Notes what it is asked to perform."""

    performed: list[tuple[RunConfig, Path, list[str], str | None]] = field(default_factory=list)

    def perform(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: str | None
    ) -> float | None:
        self.performed.append((config, folder, overrides, trial))
        return None

    def sweep_table(self, folder: Path, *, asked: list[str]) -> bool:
        raise AssertionError(f"Hydra made trials in {folder}")


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """A stand-in for the stages, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["phi-runner"])
    return Stages()


def test_one_run_has_the_first_values_and_the_whole_grid(stages: Stages, tmp_path: Path) -> None:
    typed = shlex.split(f"-m {_RATES} +train.extra.adam_epsilon=1e-8,1e-7 {_JOB} {_STAGES}")
    assert launch(flags.read(typed), runner=lambda: stages) == 0
    ((config, folder, overrides, trial),) = stages.performed
    assert config.sweep.grid == ["train.learning_rate=0.001,0.002", "train.extra.adam_epsilon=1e-08,1e-07"]
    assert (config.train.learning_rate, trial) == (0.001, None)
    assert folder.parent == tmp_path / "outputs" / "runs"
    assert overrides == ["--multirun", *typed[1:]]


def test_a_recipes_own_sweep_becomes_one_run_too(stages: Stages) -> None:
    assert launch(flags.read(shlex.split(f"-m +recipe=sweep_lr {_JOB}")), runner=lambda: stages) == 0
    ((config, _folder, _overrides, trial),) = stages.performed
    assert config.sweep.grid == ["train.learning_rate=0.001,0.002,0.004"]
    assert (config.train.learning_rate, trial) == (0.001, None)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (f"{_JOB} {_STAGES}", "add -m"),
        (f"-m {_JOB} {_STAGES} train.epochs=1", "nothing to try"),
        (f"-m {_RATES} azure=rehearsal azure.sweep=true {_STAGES}", "type compute=azure_cpu"),
        (f"-m data.take=1%,2% {_JOB} {_STAGES}", r"data\.take=1%,2%: .* train\.\*, model\.\* and seed alone"),
        (f"-m train=full,lora {_JOB} {_STAGES}", "train=full,lora: .*seed alone"),
        (f"-m {_RATES} {_JOB} stages=[infra,data,train,register]", r"register would have none: .*\[infra,data,train\]"),
        (f"-m {_RATES} {_JOB} train=azure_catalog {_STAGES}", "type train=full or train=lora"),
        (f"-m {_RATES} {_JOB} {_STAGES} hydra.sweep.dir=mine", r"type hydra\.run\.dir=FOLDER"),
        (f"{_STAGES} 'sweep.grid=[seed]'", r"set by the runner: type -m"),
        (f"-m {_RATES} {_JOB} stages=[infra,data]", "add train to the stages"),
    ],
)
def test_what_cannot_be_one_job_is_refused(stages: Stages, tmp_path: Path, typed: str, told: str) -> None:
    with pytest.raises(ConfigProblem, match=told) as caught:
        launch(flags.read(shlex.split(typed)), runner=lambda: stages)
    assert "\n" not in str(caught.value)
    assert stages.performed == []
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_bills_is_allowed_first(stages: Stages) -> None:
    account = "azure.subscription=00000000-0000-0000-0000-000000000001 azure.max_usd_per_hour=1000"
    typed = f"-m {_RATES} compute=azure_cpu azure.sweep=true {account} {_STAGES}"
    with pytest.raises(SweepWouldDeploy, match=r"sweep\.may_deploy=true"):
        launch(flags.read(shlex.split(typed)), runner=lambda: stages)
    assert launch(flags.read(shlex.split(f"{typed} sweep.may_deploy=true")), runner=lambda: stages) == 0
    assert len(stages.performed) == 1
