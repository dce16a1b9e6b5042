"""What a Tab offers, asked of the function alone, of bash as readline asks, and of fish where it is installed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phi_runner.config import completion
from phi_runner.config.completion import candidates
from phi_runner.config.vocabulary import vocabulary
from phi_runner.errors import UsageProblem

PROGRAMS = Path(sys.executable).parent
needs_program = pytest.mark.skipif(not (PROGRAMS / "phi-runner").is_file(), reason="phi_runner is not installed")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("+recipe=tu", "+recipe=tutorial_code_first +recipe=tutorial_foundry"),
        ("model=phi4", "model=phi4 model=phi4_mini"),
        ("-m model=phi3_nano,phi4_", "model=phi3_nano,phi4_mini"),
        ("tra", "tracking. train. train="),
        ("train.lear", "train.learning_rate="),
        ("train=lora train.ra", "train.rank="),
        ("train=full train.ra", ""),
        ("+recipe=dpo data.train", "data.train_file="),
        ("model.rec", "model.recommended."),
        ("model.recommended.lora", "model.recommended.lora_learning_rate="),
        ("+train.extra.neftune", "+train.extra.neftune_noise_alpha="),
        ("train.scheduler=", "train.scheduler=constant train.scheduler=cosine train.scheduler=linear"),
        ("train.packing=", "train.packing=false train.packing=true"),
        ("stages=[data,tr", "stages=[data,train"),
        ("force=[da", "force=[data"),
        ("data=jsonl data.train_file=ch", ""),
        ("-m hydra/sw", "hydra/sweeper="),
        ("-m hydra/sweeper=", "hydra/sweeper=optuna"),
        ("--mul", "--multirun"),
        ("--cfg ", "all hydra job"),
    ],
)
def test_what_may_follow(typed: str, offered: str) -> None:
    assert " ".join(candidates(typed.split(" "))) == offered


def test_every_setting_is_reached_part_by_part() -> None:
    words = vocabulary()
    asked: dict[tuple[str, ...], set[str]] = {}
    for key in words.keys.values():
        if not key.is_table:
            choice = (f"{key.group}={words.options_of(key)[0]}",) if key.kinds else ()
            before = key.path[: key.path.rfind(".") + 1]
            asked.setdefault((*choice, before), set()).add(f"{key.path}=")
    assert len(asked) > 10
    missing = {typed: left for typed, wanted in asked.items() if (left := wanted - {*candidates(typed)})}
    assert missing == {}


@pytest.mark.parametrize("asked", [[], ["install=csh"], ["instal=bash"]])
def test_an_unknown_shell_is_told_what_to_type(asked: list[str]) -> None:
    with pytest.raises(UsageProblem, match=r"phi-runner --shell-completion install=bash"):
        completion.answer(asked)


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_there_is_a_script_for_every_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    completion.answer([f"install={shell}"])
    script = capsys.readouterr().out
    assert f"--shell-completion query={shell}" in script
    assert "phi_runner" in script
    completion.answer([f"uninstall={shell}"])
    assert "phi-runner" in capsys.readouterr().out
    interpreter = shutil.which(shell)
    if interpreter:
        subprocess.run([interpreter, "-n"], input=script, text=True, check=True, timeout=30)


def environment() -> dict[str, str]:
    """Return variables with which `phi-runner` and `python` are those that run this test."""
    return {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "TERM": "dumb", "HISTFILE": "/dev/null"}


@needs_program
def test_bash_fills_its_reply(tmp_path: Path) -> None:
    script = """
        eval "$(phi-runner --shell-completion install=bash)"
        ask() {
            COMPREPLY=() COMP_LINE="$2" COMP_POINT=${#2}
            read -r -a COMP_WORDS <<< "$2"
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            "$1"; echo "${COMPREPLY[*]}"
        }
        ask _phi_runner "phi-runner model=phi4"
        ask _phi_runner_python "python -m phi_runner train.lear"
        ask _phi_runner_python "python rows.py"
        COMP_WORDBREAKS=${COMP_WORDBREAKS//=}; ask _phi_runner "phi-runner +recipe=tutorial_f"
    """
    bash = [shutil.which("bash") or "bash", "--norc", "-c", script]
    done = subprocess.run(bash, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["phi4 phi4_mini", "train.learning_rate=", "", "+recipe=tutorial_foundry"]


@needs_program
def test_a_tab_in_bash_completes_the_word(tmp_path: Path) -> None:
    """Readline itself, behind a terminal: what it inserts is what a person sees."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**environment(), "PS1": "> "})
    try:
        os.write(terminal, b'eval "$(phi-runner --shell-completion install=bash)"; echo rea""dy\n')
        assert "ready" in read_until("ready", terminal)
        os.write(terminal, b"python -m phi_runner +recipe=code_fir\t\x15phi-runner +recipe=tutorial_f\t")
        assert "phi-runner +recipe=tutorial_foundry " in read_until("foundry ", terminal)
        os.write(terminal, b"\x15python -m phi_runner train.lear\t")
        assert "train.learning_rate=" in read_until("rate=", terminal)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(wanted: str, terminal: int, *, limit_s: float = 60.0) -> str:
    """Return what the terminal shows, up to the wanted text or to the limit."""
    seen, ends = "", time.monotonic() + limit_s
    while wanted not in seen and time.monotonic() < ends:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


@needs_program
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_the_same(tmp_path: Path) -> None:
    script = """
        phi-runner --shell-completion install=fish | source
        complete -C 'phi-runner +recipe=tutorial_f'
        complete -C 'python -m phi_runner train.lear'
    """
    fish = [shutil.which("fish") or "fish", "--no-config", "-c", script]
    variables = {**environment(), "HOME": str(tmp_path)}
    done = subprocess.run(fish, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["+recipe=tutorial_foundry", "train.learning_rate="]
