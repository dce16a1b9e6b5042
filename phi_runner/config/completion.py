"""Completion for bash, zsh and fish: the script that a shell sources, and what may follow the words typed so far.

Hydra's own completion knows neither `python -m phi_runner` nor which values an enumeration has, and composes the config
on every Tab; this one reads names alone.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import get_args

from phi_runner.config import extra, places
from phi_runner.config.flags import FLAGS
from phi_runner.config.habits import OWNED
from phi_runner.config.vocabulary import RECIPE, Key, Vocabulary, vocabulary
from phi_runner.errors import UsageProblem

_SHELLS = Path(__file__).with_name("shells")
_NAMES = ("bash", "fish", "zsh")
_REMOVE = {
    "bash": "complete -r phi-runner python python3",
    "fish": "complete -e -c phi-runner; complete -e -c python; complete -e -c python3",
    "zsh": "compdef -d phi-runner python python3",
}
_STARTS = {"phi-runner": 1, "phi_runner": 1}
"""Words that name the program, by what the first one is called; `python -m phi_runner` has three."""
_EXTRA = "train.extra."


def answer(asked: Sequence[str]) -> int:
    """Print what `--shell-completion install|uninstall|query=SHELL` asks for; raises UsageProblem."""
    task, _, shell = (asked[0] if asked else "").partition("=")
    if task not in ("install", "uninstall", "query") or shell not in _NAMES:
        wanted = f"install={'|'.join(_NAMES)}"
        raise UsageProblem(
            f'--shell-completion wants {wanted}: type eval "$(phi-runner --shell-completion install=bash)"'
        )
    if task == "install":
        sys.stdout.write((_SHELLS / f"completion.{shell}").read_text(encoding="utf-8"))
    elif task == "uninstall":
        sys.stdout.write(f"{_REMOVE[shell]}\n")
    else:
        line = os.environ.get("COMP_LINE", "")
        typed = line[: int(os.environ.get("COMP_POINT") or len(line))]
        sys.stdout.write("".join(f"{word}\n" for word in candidates(_words(typed))))
    return 0


def _words(line: str) -> list[str]:
    """Return the words behind the program's name; the last one is the one being typed, and may be empty."""
    words = [word.strip("'\"") for word in line.split(" ")]  # zsh wants brackets quoted
    words = [word for word in words[:-1] if word] + words[-1:]
    program = Path(words[0]).name
    return words[_STARTS.get(program, 3) :] or [""]


def candidates(words: Sequence[str]) -> list[str]:
    """Return every text that the last word may become, in order."""
    *before, word = words
    known = vocabulary()
    if before and before[-1] in FLAGS and FLAGS[before[-1]].choices:
        found: Iterable[str] = FLAGS[before[-1]].choices
    elif word.startswith("-"):
        found = FLAGS
    elif "=" in word:
        found = _values(word, known)
    else:
        found = _names(word, known, chosen=_chosen(before, known), recipes=not any(RECIPE in text for text in before))
    return sorted({text for text in found if text.startswith(word)})


def _chosen(words: Iterable[str], known: Vocabulary) -> dict[str, str]:
    """Return the option of each group that the words before choose."""
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    typed = {key: value for key, value in pairs.items() if key in known.groups}
    return places.chosen(pairs.get(f"+{RECIPE}", "")) | typed


def _names(word: str, known: Vocabulary, *, chosen: Mapping[str, str], recipes: bool) -> Iterator[str]:
    """Yield groups and settings, the latter part by part, so that a Tab never shows all of them."""
    if recipes:
        yield f"+{RECIPE}="
    if word.startswith(f"+{_EXTRA}"):
        yield from (f"+{_EXTRA}{name}=" for name in extra.arguments() if name not in OWNED)
    yield from (f"{group}=" for group in (*known.groups, *_hydra_presets()) if group != RECIPE)
    for key in known.keys.values():
        if not _fits(key, known, chosen):
            continue
        if key.is_open:
            yield f"+{key.path}."
        at = key.path.find(".", len(word) if word.endswith(".") else word.rfind(".") + 1)
        if at >= 0:
            yield key.path[: at + 1]
        elif not key.is_table:
            yield f"{key.path}="


def _fits(key: Key, known: Vocabulary, chosen: Mapping[str, str]) -> bool:
    """Say whether the chosen option of the key's group has it."""
    return not key.kinds or chosen.get(key.group) in known.options_of(key)


def _values(word: str, known: Vocabulary) -> Iterator[str]:
    """Yield the values of a closed choice; none for a path or a number, so that shells offer files."""
    name, _, typed = word.partition("=")
    path = name.lstrip("+")
    if path in known.groups or path in _hydra_presets():
        options: Sequence[str] = list(known.groups.get(path) or _hydra_presets()[path])
    else:
        options = _choices(known.keys[path]) if path in known.keys else []
    is_list = path in known.keys and known.keys[path].is_list
    opened = "[" if is_list and not typed.startswith("[") else ""
    done = typed[: max(typed.rfind(","), typed.rfind("[")) + 1]
    taken = done.strip("[").split(",")
    yield from (f"{name}={opened}{done}{option}" for option in options if option not in taken)


def _hydra_presets() -> dict[str, list[str]]:
    """Return the presets for Hydra's own groups, by the name that is typed."""
    conf = places.folder("conf")
    folders = {f"hydra/{folder.name}": folder for folder in (conf / "launcher", *(conf / "hydra").glob("*/"))}
    return {group: sorted(file.stem for file in folder.glob("*.yaml")) for group, folder in folders.items()}


def _choices(key: Key) -> Sequence[str]:
    hint = get_args(key.hint)[0] if key.is_list else key.hint
    if hint is bool:
        return ("true", "false")
    return [str(member) for member in hint] if isinstance(hint, type) and issubclass(hint, StrEnum) else []
