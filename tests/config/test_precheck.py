"""A typo never passes, the right name comes first, nothing right is refused, and nothing is written either way."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_runner.config import flags, places
from phi_runner.config.precheck import Checked, precheck
from phi_runner.config.vocabulary import vocabulary
from phi_runner.errors import PhiRunnerError
from tests.config.lines import RIGHT, UNREADABLE, WRONG
from tests.golden import golden

_RIGHT_FIRST = 0.95
_MARKERS = ("did you mean ", "type ", "=jsonl needs ", "such as ", "multirun: ")
_ENDS = ("", "?", " ", ",", ";", ":")


def read(typed: str) -> Checked:
    """Hold a command line against the shipped configs, as the process does before Hydra runs."""
    return precheck(flags.read(shlex.split(typed)))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that anything written is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def first_suggestion_is(message: str, expected: str) -> bool:
    """Say whether `expected` is the first thing that the message tells to type."""
    found = [(message.find(marker), marker) for marker in _MARKERS if marker in message]
    if not found:
        return False
    at, marker = min(found)
    told = message[at + len(marker) :]
    return told.startswith(expected) and (told[len(expected) : len(expected) + 1] in _ENDS or expected.endswith("="))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PhiRunnerError]]:
    """What every wrong line is told, from an empty folder in which nothing may appear."""
    folder = tmp_path_factory.mktemp("wrong")
    found = {}
    with contextlib.chdir(folder):
        for typed, _expected in (*WRONG, *UNREADABLE):
            with pytest.raises(PhiRunnerError) as caught:
                read(typed)
            found[typed] = caught.value
    yield found
    assert list(folder.iterdir()) == []


def test_every_wrong_line_is_refused_in_one_line(told: dict[str, PhiRunnerError]) -> None:
    assert len(WRONG) >= 70
    assert {told[typed].exit_code for typed, _expected in WRONG} == {1}
    assert {told[typed].exit_code for typed, _expected in UNREADABLE} == {2}
    assert [typed for typed, err in told.items() if "\n" in str(err) or len(str(err)) > 400] == []


def test_the_right_name_comes_first(told: dict[str, PhiRunnerError]) -> None:
    rows = [*WRONG, *UNREADABLE]
    astray = [(typed, str(told[typed])) for typed, right in rows if not first_suggestion_is(str(told[typed]), right)]
    assert 1 - len(astray) / len(rows) >= _RIGHT_FIRST, astray


def test_what_is_told_is_kept_word_for_word(told: dict[str, PhiRunnerError]) -> None:
    text = "".join(f"$ {typed}\n{err}\n" for typed, err in told.items())
    assert text == golden("errors.txt", now=text)


@pytest.mark.parametrize("recipe", sorted(file.stem for file in places.folder("recipes").glob("*.yaml")))
def test_every_shipped_recipe_passes(recipe: str, empty_folder: Path, tiny_model: Path) -> None:
    pairs = empty_folder.with_name("pairs.jsonl")
    pairs.touch()
    run = empty_folder.with_name("run")
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    typed = {
        "compare": f"runs=[{run},{run}]",
        "reproduce": f"run={run}",
        "tutorial_foundry": "azure=rehearsal",
        "dpo": f"data.train_file={pairs} model.path={tiny_model} train.max_length=512",
    }
    checked = read(f"+recipe={recipe} {typed.get(recipe, '')}")
    assert checked.multirun == recipe.startswith("sweep")
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("typed", RIGHT)
def test_no_right_line_is_refused(typed: str, tmp_path: Path, empty_folder: Path) -> None:
    file = tmp_path / "rows with, odd=name.jsonl"
    file.write_text('{"messages": []}\n')
    plain = tmp_path / "rows.jsonl"
    plain.write_text('{"messages": []}\n')
    preset = tmp_path / "presets" / "data" / "mine.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# my own\ndefaults: [ultrachat, _self_]\ntake: 3%\n")
    named = typed.replace("'HERE'", f"'{file}'").replace("HERE", str(plain))
    read(named.replace("PRESETS", str(tmp_path / "presets")))
    assert list(empty_folder.iterdir()) == []


def mistyped(path: str) -> list[str]:
    """Damage the last part of a dotted name in the ways in which hands do."""
    head, dot, leaf = path.rpartition(".")
    half = len(leaf) // 2
    leaves = (
        leaf[:half] + leaf[half + 1 :],
        leaf[: half - 1] + leaf[half] + leaf[half - 1] + leaf[half + 1 :],
        leaf[:half] + leaf[half] + leaf[half:],
        leaf[:-1],
        leaf.replace("_", ""),
    )
    return [head + dot + damaged for damaged in leaves if damaged != leaf and len(damaged) > 1]


def test_every_setting_is_found_again_when_it_is_mistyped() -> None:
    words = vocabulary()
    tried = right = 0
    for path, key in words.keys.items():
        if key.is_table:
            continue
        for name in (name for name in mistyped(path) if name not in words.keys):
            tried += 1
            with pytest.raises(PhiRunnerError) as caught:
                read(f"{name}=3")
            right += f"{path}=" in str(caught.value).partition("did you mean ")[2].partition(" or ")[0]
    assert tried > 300
    assert right / tried >= _RIGHT_FIRST


def test_several_mistakes_are_said_together() -> None:
    with pytest.raises(PhiRunnerError, match=r"data\.take=1%.*train\.epochs=3"):
        read("data.tak=1% train.epoch=3")
    with pytest.raises(PhiRunnerError, match=r"seed=-1 .*; train\.epochs=0 "):
        read("train.epochs=0 seed=-1")


def test_runs_go_under_outputs_wherever_it_is() -> None:
    assert read("outputs=/tmp/elsewhere").folder.parent == Path("/tmp/elsewhere/runs")
    assert read("-m outputs=/tmp/elsewhere").folder.parent == Path("/tmp/elsewhere/sweeps")
    assert read("hydra.run.dir=exactly/here").folder == Path("exactly/here")
    assert read("\"outputs='~/x'\"").folder.parent == Path.home() / "x" / "runs"


def test_an_open_host_is_a_warning_and_no_refusal() -> None:
    assert read("deploy=local deploy.host=0.0.0.0").warnings == ("deploy.host=0.0.0.0 lets other machines in",)
    assert read("deploy=local deploy.host=localhost").warnings == ()


@pytest.mark.parametrize("typed", ["'model=glob(phi9*)'", "'train.epochs=range(4,1)'"])
def test_a_sweep_over_nothing_is_refused(typed: str) -> None:
    with pytest.raises(PhiRunnerError, match="no value at all"):
        read(f"-m {typed}")


@pytest.mark.parametrize(
    "typed", ["data=" + "x" * 300, "outputs=" + "x" * 300, "'model.path=\"~nobody_here/x\"'", "x" * 300]
)
def test_paths_that_cannot_be_looked_at_are_refused_like_any_other(typed: str) -> None:
    with pytest.raises(PhiRunnerError):
        read(typed)


def test_the_sweep_of_a_recipe_is_held_against_the_config_too(tmp_path: Path) -> None:
    recipe = tmp_path / "presets" / "recipe" / "mine.yaml"
    recipe.parent.mkdir(parents=True)
    head = "# @package _global_\nstages: [data]\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
    typed = f"--config-dir {tmp_path / 'presets'} +recipe=mine"
    for params, said in [
        ("train.epoch: 1,2", r"did you mean train\.epochs=1,2\?"),
        ("train.epochs: 1,two", r"did you mean train\.epochs=2\?"),
        ("train.epochs: '1,['", "cannot read"),
    ]:
        recipe.write_text(f"{head}      {params}\n")
        with pytest.raises(PhiRunnerError, match=said):
            read(typed)
    recipe.write_text(f"{head}      train.epochs: 1,2\n")
    assert read(typed).multirun
