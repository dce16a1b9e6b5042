"""From a name or value that does not exist to the override that was meant, ready to be typed."""

import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from phi_runner.config import typo
from phi_runner.config.habits import HABITS, SPELLED
from phi_runner.config.schema import NanoModel
from phi_runner.config.typo import likeness
from phi_runner.config.vocabulary import RECIPE, Key, Vocabulary

_MOST = 3
_AS_GOOD = 0.03
"""Suggestions this close to the best one are named beside it."""
_KNOWN = 0.98
"""Score of a name that is listed in habits.py."""
_SAME_WORD = 0.81
"""Likeness from which two names are one word, mistyped."""
_TABLES = {".jsonl", ".json", ".csv", ".parquet"}
_TRUE = {"true", "1", "yes", "on", "y", ""}
_FALSE = {"false", "0", "no", "off", "n"}


def for_key(key: str, raw: str, words: Vocabulary, *, chosen: Mapping[str, str]) -> list[str]:
    """Return what `key=raw` may have meant, the likeliest first; `chosen` is the option of each group."""
    name = key.replace("-", "_").replace("/", ".").strip(" .").lower()
    ideas = [*_switches(name, raw), *_habits(name, raw, words, chosen), *_keys(name, raw, words, chosen)]
    ideas += [] if "." in name else _groups(name, raw, words)
    best: dict[str, float] = {}
    for score, text in ideas:
        best[text] = max(score, best.get(text, 0.0))
    ranked = sorted(best.items(), key=lambda pair: -pair[1])
    good = [(text, score) for text, score in ranked if score >= typo.ALIKE]
    return [text for text, score in good[:_MOST] if score >= good[0][1] - _AS_GOOD]


def for_option(group: str, option: str, words: Vocabulary) -> list[str]:
    """Return the overrides that choosing `option` of `group` may have meant, the likeliest first."""
    if group == "model" and (option.startswith((".", "/", "~")) or os.path.isdir(option)):
        return [f"model=local model.path={option}"]
    if group == "data" and (Path(option).suffix.lower() in _TABLES or os.path.isfile(option)):
        return [f"data=jsonl data.train_file={option}"]
    ids = {preset.name: preset.repo.rpartition("/")[2] for preset in words.groups[group].values()}
    wanted = option.rpartition("/")[2]
    scores = {name: max(likeness(wanted, name), likeness(wanted, repo) if repo else 0.0) for name, repo in ids.items()}
    alike = [name for name in scores if scores[name] >= typo.ALIKE]
    ranked = sorted(alike, key=lambda name: (-scores[name], len(name)))
    return [choice(group, name) for name in ranked[:2] if scores[name] >= scores[ranked[0]] - _AS_GOOD]


def choice(group: str, option: str) -> str:
    """Return the override that chooses an option: recipes are added, everything else is set."""
    return f"+{group}={option}" if group == RECIPE else f"{group}={option}"


def assignment(path: str, raw: str, words: Vocabulary, *, chosen: Mapping[str, str]) -> str:
    """Return the override that sets a key, with the option that has the key where another one is chosen."""
    key = words.keys.get(path)
    if key is None:
        return f"+{path}={raw}"
    options = words.options_of(key) if key.kinds else []
    missing = options and (chosen.get(key.group) not in options or _is_made_here(key, words, chosen))
    return (f"{key.group}={options[0]} " if missing else "") + f"{path}={_fitting(key, raw)}"


def _is_made_here(key: Key, words: Vocabulary, chosen: Mapping[str, str]) -> bool:
    """Say whether the key is the folder of a model, and the chosen model comes from no folder."""
    return key.path == "model.path" and words.kind(key.group, chosen.get(key.group, "")) == NanoModel.kind


def _fitting(key: Key, raw: str) -> str:
    """Spell a value the way its type wants it."""
    if key.is_list and not raw.startswith("["):
        return f"[{raw}]"
    if isinstance(key.hint, type) and issubclass(key.hint, StrEnum):
        return next(iter(typo.nearest(raw, list(key.hint))), raw)
    return "true" if key.hint is bool and not raw else raw


def _switches(name: str, raw: str) -> Iterator[tuple[float, str]]:
    value = "true" if raw.lower() in _TRUE else "false" if raw.lower() in _FALSE else raw.lower()
    text = SPELLED.get((name.rpartition(".")[2], value))
    if text:
        yield _KNOWN + 2 * _AS_GOOD, text  # alone: the other names for it would take the wrong value


def _habits(name: str, raw: str, words: Vocabulary, chosen: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    """Yield what names from elsewhere are called here; one typed under another group's name counts a little less."""
    head, _, leaf = name.rpartition(".")
    for habit, target in HABITS.items():
        alike = 1.0 if habit in (name, leaf) else likeness(leaf, habit) if min(len(leaf), len(habit)) > 1 else 0.0
        if alike >= _SAME_WORD or (len(leaf) == len(habit) + 1 and leaf.startswith(habit)):
            at_home = name == habit or not head or head == target.partition(".")[0]
            score = (_KNOWN if alike == 1.0 else 0.9 * max(alike, _SAME_WORD)) * (1.0 if at_home else 0.85)
            if target not in words.groups:
                yield score, assignment(target, raw, words, chosen=chosen)
                continue
            near = for_option(target, raw, words)
            yield (score, near[0]) if near else (0.9 * score, _any_option(target, words))


def _groups(name: str, raw: str, words: Vocabulary) -> Iterator[tuple[float, str]]:
    """Yield choices of options, for a mistyped group; a value that is an option there makes it likelier."""
    for group, options in words.groups.items():
        near = for_option(group, raw, words)
        score = likeness(name, group) + (0.25 if raw in options else 0.1 if near else -0.1)
        if raw in options and sum(raw in others for others in words.groups.values()) == 1:
            score = max(score, typo.ALIKE)  # the value alone says which group was meant
        yield from ((score, text) for text in near or [_any_option(group, words)])


def _keys(name: str, raw: str, words: Vocabulary, chosen: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    for position, key in enumerate(words.keys.values()):
        score = _key_score(name, key.path) - position * 1e-5  # of equals, the earlier
        if score >= typo.ALIKE and not key.is_table:
            yield score, assignment(key.path, raw, words, chosen=chosen)


def _any_option(group: str, words: Vocabulary) -> str:
    return choice(group, next(iter(words.groups[group])))


def _key_score(name: str, path: str) -> float:
    """Compare dotted names: the last part counts most, what stands before it may be wrong or missing."""
    typed_head, _, typed_leaf = name.rpartition(".")
    head, _, leaf = path.rpartition(".")
    near = likeness(typed_leaf, leaf)
    missing = 0.97 if head else 1.0
    score = near * (0.75 + 0.25 * likeness(typed_head, head) if typed_head else missing)
    if head.count(".") and not typed_head.count("."):
        score *= 0.7  # a setting two levels down is hardly ever meant by a shorter name
    run_together = likeness(name.replace(".", "_"), path.replace(".", "_"))
    return max(score, 0.95 * run_together if run_together > _SAME_WORD else 0.0)
