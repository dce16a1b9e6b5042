"""The whole command in a process of its own: exit codes, streams, and what is never imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner import __version__

HEAVY = {
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "mlflow", "promptflow", "azure", "pyarrow",
    "matplotlib", "fastapi", "uvicorn", "httpx", "pandas",
}  # fmt: skip


def started(*typed: str, folder: Path, options: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """Start phi_runner in a folder."""
    variables = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, *options, "-m", "phi_runner", *typed], cwd=folder, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ran(*typed: str, folder: Path, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of phi_runner."""
    process = started(*typed, folder=folder, options=options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        ("data.tak=1%", 1, "no setting is called 'data.tak': did you mean data.take=1%?"),
        ("train.epochs=three", 1, "train.epochs=three: train.epochs is a whole number: did you mean train.epochs=3?"),
        ("--hlep", 2, "there is no flag --hlep: did you mean --help?"),
        ("hydra.verbos=true", 1, "Hydra has no setting 'hydra.verbos': did you mean hydra.verbose=true?"),
        ("--config-name=other", 1, "Cannot find primary config 'other'. Check that it's in your config search path."),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(typed: str, code: int, told: str, tmp_path: Path) -> None:
    assert ran(typed, folder=tmp_path) == (code, "", f"phi_runner: {told}\n")
    assert list(tmp_path.iterdir()) == []


def test_nothing_typed_is_a_usage_error_that_says_what_to_type(tmp_path: Path) -> None:
    code, out, err = ran(folder=tmp_path)
    assert (code, err) == (2, "")
    assert "python -m phi_runner +recipe=full" in out


def test_version(tmp_path: Path) -> None:
    assert ran("--version", folder=tmp_path) == (0, f"phi_runner {__version__}\n", "")


def imported(*typed: str, folder: Path) -> set[str]:
    """Return the top-level packages that a command imports."""
    code, _out, err = ran(*typed, folder=folder, options=("-X", "importtime"))
    assert code == 0, err
    lines = [line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")]
    return {line.partition(".")[0] for line in lines}


CLOUD = "--cfg job --resolve +recipe=full compute=azure_cpu deploy=azure flow=foundry azure=rehearsal"


@pytest.mark.parametrize(
    "typed", ["--cfg job", "--cfg job --resolve +recipe=tutorial_code_first", CLOUD, "--info defaults"]
)
def test_looking_at_a_config_imports_nothing_heavy(typed: str, tmp_path: Path) -> None:
    packages = imported(*typed.split(), folder=tmp_path)
    assert "hydra" in packages
    assert packages & HEAVY == set()


@pytest.mark.parametrize("typed", ["--help", "-h", "--version"])
def test_help_does_not_even_import_hydra(typed: str, tmp_path: Path) -> None:
    assert imported(typed, folder=tmp_path) & (HEAVY | {"hydra", "rapidfuzz", "rich"}) == set()


def test_two_runs_begun_in_the_same_second_have_two_folders(tmp_path: Path) -> None:
    processes = [started("+recipe=teardown", "outputs=out", folder=tmp_path) for _number in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_a_traceback_is_shown_to_those_who_ask_for_it(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['phi-runner', 'data.tak=1%']; from phi_runner.__main__ import run; run()"
    variables = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("did you mean data.take=1%?\n")
