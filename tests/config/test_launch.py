"""What Hydra makes of a checked command line: folders, trials, and how each ends; the stages are a stand-in."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phi_runner.config import endings, flags
from phi_runner.config.launch import claim, launch
from phi_runner.config.schema import RunConfig
from phi_runner.config.trial import Outcome, State, Trial
from phi_runner.errors import ConfigProblem, StoreProblem, TrainFailed, UsageProblem


@dataclass
class Stages:
    """Notes what it is asked to perform; some numbers of epochs go wrong."""

    performed: list[tuple[Path, list[str], str, Trial | None]] = field(default_factory=list)
    tables: list[tuple[Path, list[str]]] = field(default_factory=list)
    all_well: bool = True

    def perform(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial | None
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

    def perform_trial(
        self, config: RunConfig, *, folder: Path, overrides: list[str], recipe: str, trial: Trial,
        on_wait: Callable[[], None],
    ) -> Outcome:  # fmt: skip
        if config.train.epochs == 6:
            on_wait()
            return Outcome(state=State.reused, objective=1.0, told="done before")
        objective = self.perform(config, folder=folder, overrides=overrides, recipe=recipe, trial=trial)
        return Outcome(state=State.done, objective=objective)

    def sweep_table(self, folder: Path, *, asked: list[str]) -> bool:
        self.tables.append((folder, asked))
        return self.all_well

    def folders(self) -> list[Path]:
        return [folder for folder, _overrides, _recipe, _trial in self.performed]


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
    assert exit_code(stages, "-m", "train.epochs=1,7,8,2", "seed=3", "hydra.sweeper.max_batch_size=2") == 1
    ((sweep, asked),) = stages.tables
    assert sweep.absolute().parent == tmp_path / "outputs" / "sweeps"
    assert stages.folders() == [(sweep / trial).absolute() for trial in asked]
    assert [trial and (trial.id, trial.number, trial.values) for _f, _o, _r, trial in stages.performed] == [
        (name, number, {"train.epochs": epochs})
        for number, (name, epochs) in enumerate(zip(asked, (1, 7, 8, 2), strict=True))
    ]
    assert stages.performed[3][1] == ["train.epochs=2", "seed=3"]
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "phi_runner: trial 1 (train.epochs=7): seven is too many",
        "phi_runner: trial 2 (train.epochs=8): ZeroDivisionError: division by zero "
        f"(traceback in {sweep.absolute() / asked[2] / 'traceback.txt'})",
    ]
    assert not (sweep / ".asked").exists()


def test_an_interruption_ends_the_whole_sweep(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "-m", "train.epochs=1,9,2") == 130
    assert len(stages.performed) == 2
    assert stages.tables == []
    assert capfd.readouterr().err == "phi_runner: interrupted: type the same command to continue\n"


def test_a_trial_that_is_not_run_again_is_said(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "-m", "train.epochs=6,1,1") == 0
    assert len(stages.performed) == 1
    assert len(stages.tables[0][1]) == 2
    assert capfd.readouterr().out.splitlines() == [
        "phi_runner: trial 0 (train.epochs=6): another process runs it: waiting",
        "phi_runner: trial 0 (train.epochs=6): not run again, done before",
        "phi_runner: trial 2 (train.epochs=1): not run again, the same as another trial of this sweep",
    ]


@pytest.mark.parametrize(
    "again",
    [
        ["train.epochs=1,2"],
        ["train.epochs=2,1", "outputs=./outputs"],
        ["train.epochs=1,2,3,4"],
        ["train.epochs=range(1,5)", "train.batch_size=4", "seed=0x0"],
    ],
)
def test_the_same_sweep_comes_back_to_its_folder(stages: Stages, again: list[str]) -> None:
    others = [item for item in again if item.startswith("train.batch_size")]
    assert exit_code(stages, "-m", "train.epochs=1,2", *others) == 0
    known = dict(zip((1, 2), stages.folders(), strict=True))
    typed = [item.replace("seed=0x0", "sweep.may_deploy=true") for item in again]
    assert exit_code(stages, "-m", *typed) == 0
    found = {trial.values["train.epochs"]: folder for folder, _o, _r, trial in stages.performed[2:] if trial}
    assert {epochs: found[epochs] for epochs in known} == known


def test_different_sweeps_have_different_folders(stages: Stages) -> None:
    lines = [
        ["train.epochs=1,2"],
        ["train.epochs=1,2", "seed=1"],
        ["train.epochs=1,2", "train=lora"],
        ["train.epochs=1,2", "train.batch_size=2,4"],
        ["train.batch_size=2,4"],
        ["train.epochs=1,2", "+recipe=train_only"],
    ]
    for line in lines:
        assert exit_code(stages, "-m", *line) == 0
    assert len({folder for folder, _asked in stages.tables}) == len(lines)
    assert stages.tables[-1][0].name.startswith("train_only_")
    assert stages.tables[0][0].name.startswith("sweep_")


def test_a_trial_is_what_its_config_says_and_not_its_place(stages: Stages) -> None:
    assert exit_code(stages, "-m", "train=lora,dora", "register.name=phi-${hydra:job.num}") == 0
    assert exit_code(stages, "-m", "train=dora,lora", "register.name=phi-${hydra:job.num}", "outputs=else") == 0
    names = [folder.name for folder in stages.folders()]
    assert names[2:] == [names[1], names[0]]
    assert names[0] != names[1]


def test_patterns_stand_for_presets_and_recipes(stages: Stages) -> None:
    assert exit_code(stages, "-m", "+recipe=glob([check*,train*])", "train=glob([dor*,lor*])") == 0
    assert [overrides for _folder, overrides, _recipe, _trial in stages.performed] == [
        [f"+recipe={recipe}", f"train={method}"]
        for recipe in ("check_data", "train_only")
        for method in ("dora", "lora")
    ]
    assert {recipe for _f, _o, recipe, _t in stages.performed} == {"check_data", "train_only"}


def test_trials_take_their_names_from_what_they_are(stages: Stages) -> None:
    with pytest.raises(ConfigProblem, match=r"type hydra\.sweep\.dir=FOLDER"):
        launch(flags.read(["-m", "seed=1,2", "hydra.sweep.subdir=x"]), runner=lambda: stages)


def test_a_recipe_may_bring_its_own_sweep(stages: Stages) -> None:
    assert exit_code(stages, "+recipe=sweep_lr") == 0
    assert [overrides for _folder, overrides, _recipe, _trial in stages.performed] == [
        [f"train.learning_rate={rate}", "+recipe=sweep_lr"] for rate in (0.001, 0.002, 0.004)
    ]


def test_the_table_decides_whether_a_sweep_went_well(stages: Stages) -> None:
    stages.all_well = False
    assert exit_code(stages, "-m", "train.epochs=1,2", "hydra.sweep.dir=mine") == 1
    assert [folder for folder, _asked in stages.tables] == [Path("mine")]
    assert [folder.parent for folder in stages.folders()] == [Path("mine").absolute()] * 2


def test_showing_a_config_writes_nothing(stages: Stages, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(stages, "--cfg", "job", "--resolve", "train=lora", "data=jsonl") == 0
    told = capfd.readouterr()
    assert "learning_rate: 0.01\n" in told.out
    assert "train_file: ???\n" in told.out
    assert told.err == ""
    assert stages.performed == []
    assert list(tmp_path.iterdir()) == []


def test_what_hydra_refuses_ends_in_one_line(stages: Stages, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="hydra/launcher/jobib") as caught:
        launch(flags.read(["hydra/launcher=jobib"]), runner=lambda: stages)
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
