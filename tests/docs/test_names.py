"""Every setting, preset, recipe and path that a page names is there, and every value shown fits its setting."""

import fnmatch
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from phi_runner.config import hydra
from phi_runner.config.schema import SCHEMAS, RunConfig
from phi_runner.config.typed import Sweep
from phi_runner.config.vocabulary import RECIPE, Key, Vocabulary, vocabulary
from scripts.docs import presets
from tests.docs import pages

_OVERRIDE = re.compile(r"(\+\+?|~)?([a-z][\w./]*)=(.*)", re.DOTALL)
_PLACEHOLDER = re.compile(r"[A-Z]+|\.\.\.|…|")
_DOTTED = re.compile(r"[a-z]\w*(\.[a-z]\w*)+")
_PATH = re.compile(r"[\w.-]+(/[\w.*-]+)+/?|[a-z_]+\.py")
_FILES = (".py", ".json", ".yaml", ".md", ".jsonl", ".log", ".png", ".html", ".txt", ".arrow", ".db")
_EXAMPLES = {"group", "group.setting", "key"}
"""Names that stand for any other."""
_ELSEWHERE = {"n", "use_cache", "trust_remote_code", "install", "uninstall"}
"""Arguments of other programs, and what a mistake would look like."""


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return vocabulary()


def overrides(page: Path) -> Iterator[str]:
    """Yield what looks like overrides in a page: in backticks, or in a line of a command."""
    for code in (*pages.inline(page), *pages.commands(page)):
        try:
            typed = shlex.split(code, comments=True)
        except ValueError:
            continue
        if all(_OVERRIDE.fullmatch(word) or word.startswith("-") for word in typed) or code.startswith("python -m phi"):
            yield from (word for word in typed if _OVERRIDE.fullmatch(word))


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_every_override_is_one(page: Path, words: Vocabulary) -> None:
    wrong = {text: told for text in overrides(page) if (told := problem(text, words))}
    assert wrong == {}


def problem(text: str, words: Vocabulary) -> str:
    """Say what is wrong with an override, or nothing."""
    found = _OVERRIDE.fullmatch(text)
    assert found
    _sign, name, value = found.groups()
    if name in _EXAMPLES | _ELSEWHERE or name.startswith("hydra."):
        return ""
    options = _options(name, words)
    if options:
        pattern = re.fullmatch(r"glob\((.+)\)", value)
        if pattern:
            return "" if fnmatch.filter(options, pattern[1]) else f"{text} matches nothing"
        asked = [option for option in re.split(r"[,|]", value) if not _PLACEHOLDER.fullmatch(option)]
        return next((f"{name} has no option {option}" for option in asked if option not in options), "")
    if words.open_parent(name):
        return ""
    return _unfit(words.keys[name], text, words) if name in words.keys else f"there is no setting {name}"


def _options(name: str, words: Vocabulary) -> set[str]:
    if name.startswith("hydra/"):
        return {*(preset.name for preset in presets.of(name)), "basic"}
    return {*words.groups.get(name, ()), "mine"} if name in (*SCHEMAS, RECIPE) else set()


def _unfit(key: Key, text: str, words: Vocabulary) -> str:
    """Say that a value does not fit the type of its setting in any kind of the group that has it."""
    typed = hydra.parse(text.replace("|", ","), words)
    if (
        typed is None
        or typed.sweep is Sweep.interval
        or any(_PLACEHOLDER.fullmatch(str(value)) for value in typed.values)
    ):
        return ""
    group, _, name = key.path.partition(".")
    schemas = [SCHEMAS[group][kind] for kind in key.kinds] or [RunConfig]
    told = ""
    for schema in schemas:
        try:
            for value in typed.values:
                OmegaConf.update(OmegaConf.structured(schema), name if key.kinds else key.path, value)
        except OmegaConfBaseException as err:
            told = str(err)
        else:
            return ""
    return told


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_every_setting_that_is_named_is_there(page: Path, words: Vocabulary) -> None:
    heads = {key.group for key in words.keys.values() if "." in key.path}
    named = {code for code in pages.inline(page) if _DOTTED.fullmatch(code) and code.partition(".")[0] in heads}
    named = {name for name in named if not name.endswith(_FILES)}
    assert [name for name in sorted(named) if name not in words.keys and not words.open_parent(name)] == []


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_every_path_of_the_project_is_there(page: Path) -> None:
    package = pages.ROOT / "phi_runner"
    tops = {"phi_runner", "conf", "recipes", "docs", "tests", "scripts", "benchmarks"}
    ours = tops | {item.name for item in package.iterdir()}
    named = {code for code in pages.inline(page) if _PATH.fullmatch(code) and code.partition("/")[0] in ours}
    named = {name for name in named if ("/" in name or name.endswith(".py")) and "..." not in name}
    assert [name for name in sorted(named) if not any((*pages.ROOT.glob(name), *package.glob(name)))] == []


def test_every_module_that_the_architecture_names_is_there() -> None:
    named = {code for code in pages.inline(pages.ROOT / "docs" / "architecture.md") if re.fullmatch(r"\w+\.py", code)}
    assert len(named) > 10
    assert [name for name in sorted(named) if not any((pages.ROOT / "phi_runner").rglob(name))] == []
