"""Every command in README and docs is one that would run: composed and checked as the process does before it starts."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig

from phi_runner.config import completion, flags, hydra
from phi_runner.config.precheck import precheck
from phi_runner.errors import PhiRunnerError
from tests.docs import pages

FILLER = "+recipe=full"
"""What `...` at the beginning of a command may stand for."""
CODE = [code for page in pages.PAGES for code in (*pages.inline(page), *(block.text for block in pages.blocks(page)))]


def words(command: str) -> list[str]:
    """Return the words behind the program; `...` stands for a command that is there already."""
    typed = [word for word in shlex.split(command, comments=True) if word != "..."]
    if typed[0] == "python":
        return typed[3:]
    return typed[1:] if typed[0] == "phi-runner" else [FILLER, *typed]


COMMANDS = {tuple(words(command)): command for page in pages.PAGES for command in pages.commands(page)}


@pytest.fixture
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hydra compose each combination of presets once for all commands: they are read, never changed."""
    monkeypatch.setattr(hydra, "compose", _once(hydra.compose))


def _once(compose: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    made: dict[tuple[object, ...], DictConfig] = {}

    def composed(overrides: Sequence[str], *, extra: Path | None) -> DictConfig:
        wanted = (*overrides, extra)
        if wanted not in made:
            made[wanted] = compose(overrides, extra=extra)
        return made[wanted]

    return composed


def test_the_pages_hold_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.usefixtures("everything_here", "composed_once")
def test_every_command_passes_the_check() -> None:
    refused = {}
    for typed, command in COMMANDS.items():
        line = flags.read(typed)
        if line.asks or line.completes:
            continue
        try:
            precheck(line)
        except PhiRunnerError as err:
            refused[command] = str(err)
    assert refused == {}


def test_a_tab_does_what_is_shown() -> None:
    shown = re.findall(r"^\$ (\S.*)⇥ +(.+)$", pages.text(pages.ROOT / "docs" / "command_line.md"), re.MULTILINE)
    assert len(shown) == 3
    for typed, offered in shown:
        assert completion.candidates(words(typed)) == offered.split()


def test_every_target_of_make_is_there() -> None:
    makefile = (pages.ROOT / "Makefile").read_text()
    named = {name for code in CODE for name in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)}
    assert {"run", "test", "docs"} <= named
    assert [name for name in sorted(named) if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_every_extra_is_there() -> None:
    extras = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    groups = [group for code in CODE for group in re.findall(r"(?:phi.runner|\.)\[([a-z_,]+)\]", code)]
    named = {name for group in groups for name in group.split(",")}
    assert named
    assert named <= extras.keys()


def test_every_benchmark_has_the_flags_that_are_shown() -> None:
    shown = [line for code in CODE for line in code.splitlines() if line.startswith("python -m benchmarks.")]
    assert shown
    sources = "\n".join(file.read_text() for file in (pages.ROOT / "benchmarks").rglob("*.py"))
    for line in shown:
        module, *rest = shlex.split(line, comments=True)[2:]
        assert importlib.util.find_spec(module), line
        assert [flag for flag in rest if flag.startswith("--") and f'"{flag}"' not in sources] == [], line
