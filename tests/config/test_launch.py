"""What Hydra makes of a checked command line: folders, trials, and how each ends; the stages are a stand-in."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phi_runner.config import endings, flags
from phi_runner.config.launch import claim, launch
from phi_runner.config.schema import RunConfig
from phi_runner.errors import ConfigProblem, StoreProblem, TrainFailed, UsageProblem


@dataclass
class Stages:
    """Notes what it is asked to perform; some numbers of epochs go wrong."""

    performed: list[tuple[Path, list[str], str, str | None]] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    all_well: bool = True

    def perform(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: str | None
    ) -> float | None:
        self.performed.append((folder, overrides, recipe, trial))
        match config.train.epochs:
            case 7:
                raise TrainFailed("seven\nis too many")
            case 8:
                raise ZeroDivisionError("division by zero")
            case 9:
                raise KeyboardInterrupt
        return config.train.learning_rate

    def sweep_table(self, folder: Path) -> bool:
        self.tables.append(folder)
        return self.all_well


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """A stand-in for the stages, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["phi-runner"])
    return Stages()


def exit_code(stages: Stages, *typed: str) -> int:
    """Do what the command line says as the entry point does."""
    with pytest.raises(SystemExit) as caught, endings.told():
        raise SystemExit(launch(flags.read(typed), runner=lambda: stages))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_run_has_a_folder_of_its_own_and_knows_what_was_typed(stages: Stages, tmp_path: Path) -> None:
    assert exit_code(stages, "+recipe=train_only", "hydra.verbose=false", "outputs=here, and=there") == 2
    assert exit_code(stages, "+recipe=train_only", "outputs='here, and=there'", "seed=3") == 0
    assert exit_code(stages, "+recipe=train_only", "outputs='here, and=there'") == 0
    (first, overrides, recipe, trial), (second, *_rest) = stages.performed
    assert (overrides, recipe, trial) == (
        ["+recipe=train_only", "outputs='here, and=there'", "seed=3"],
        "train_only",
        None,
    )
    assert first.parent == second.parent == tmp_path / "here, and=there" / "runs"
    assert first != second
    assert stages.tables == []


def test_a_failure_is_one_line_and_its_exit_code(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "train.epochs=7") == 1
    assert capfd.readouterr() == ("", "phi_runner: seven is too many\n")


def test_a_failure_nobody_foresaw_leaves_its_traceback_in_the_run(
    stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(stages, "train.epochs=8") == 1
    file = stages.performed[0][0] / "traceback.txt"
    assert capfd.readouterr().err == f"phi_runner: ZeroDivisionError: division by zero (traceback in {file})\n"
    assert "test_launch.py" in file.read_text()


def test_an_interruption_says_how_to_go_on(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "train.epochs=9") == 130
    assert capfd.readouterr().err == "phi_runner: interrupted: type the same command to continue\n"


def test_failing_trials_do_not_end_the_others(
    stages: Stages, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(stages, "-m", "train.epochs=1,7,8,2", "seed=3") == 1
    sweep = stages.tables[0].absolute()
    assert [(folder, trial) for folder, _overrides, _recipe, trial in stages.performed] == [
        (sweep / str(number), str(number)) for number in range(4)
    ]
    assert stages.performed[3][1] == ["train.epochs=2", "seed=3"]
    assert sweep.parent == tmp_path / "outputs" / "sweeps"
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "phi_runner: trial 1 (train.epochs=7 seed=3): seven is too many",
        "phi_runner: trial 2 (train.epochs=8 seed=3): ZeroDivisionError: division by zero "
        f"(traceback in {sweep / '2' / 'traceback.txt'})",
    ]


def test_a_recipe_may_bring_its_own_sweep(stages: Stages) -> None:
    assert exit_code(stages, "+recipe=sweep_lr") == 0
    assert [overrides for _folder, overrides, _recipe, _trial in stages.performed] == [
        [f"train.learning_rate={rate}", "+recipe=sweep_lr"] for rate in (0.001, 0.002, 0.004)
    ]


def test_the_table_decides_whether_a_sweep_went_well(stages: Stages) -> None:
    stages.all_well = False
    assert exit_code(stages, "-m", "train.epochs=1,2", "hydra.sweep.dir=mine") == 1
    assert stages.tables == [Path("mine")]


def test_showing_a_config_writes_nothing(stages: Stages, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "--cfg", "job", "--resolve", "train=lora", "data=jsonl") == 0
    told = capfd.readouterr()
    assert "learning_rate: 0.01\n" in told.out
    assert "train_file: ???\n" in told.out
    assert told.err == ""
    assert stages.performed == []
    assert list(tmp_path.iterdir()) == []


def test_what_hydra_refuses_ends_in_one_line(stages: Stages, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="hydra/launcher/joblib") as caught:
        launch(flags.read(["hydra/launcher=joblib"]), runner=lambda: stages)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageProblem, match="install"):
        launch(flags.read(["-sc", "instal=bash"]), runner=lambda: stages)
    with pytest.raises(ConfigProblem, match="other"):
        launch(flags.read(["--config-name", "other"]), runner=lambda: stages)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_claimed_once_however_many_begin_together(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(claim, [tmp_path / "runs" / "now"] * 16))
    assert len(set(claimed)) == 16
    assert tmp_path / "runs" / "now" in claimed


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem, match="type outputs=FOLDER"):
        claim(tmp_path / "file" / "runs" / "now")
