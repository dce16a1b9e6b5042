"""Words that cannot be read as KEY=VALUE or as a flag, and what was meant by them."""

import os
import re
from collections import deque
from collections.abc import Collection, Sequence

from phi_runner.config import hydra, suggest, typo
from phi_runner.config.flags import FLAGS
from phi_runner.config.schema import StageName
from phi_runner.config.spelling import Spelling

_FORM = "an override is KEY=VALUE, such as train.epochs=3"
_SLICE = re.compile(r"(\w+)\[:(\d+%?)\]")
_CLOSERS = {"[": "]", "{": "}", "(": ")"}
_PLAIN_KEY = re.compile(r"(\+\+|\+|~)?[\w./-]+(@[\w.:]+)?")


def unknown_flag(flag: str, value: str, spelling: Spelling) -> str:
    """Say which flag, or which setting, was meant by a word that starts with dashes."""
    name = flag.lstrip("-")
    flags = typo.nearest(f"--{name}", FLAGS, most=1) if len(name) > 1 else []
    if name.replace("-", "_") in spelling.words.groups:
        settings = suggest.for_option(name, value, spelling.words)[:1] or [suggest.choice(name, value or "OPTION")]
    else:
        settings = suggest.for_key(name, value or "VALUE", spelling.words, chosen=spelling.chosen)[:1]
    by_flag = typo.likeness(f"--{name}", flags[0]) if flags else 0.0
    near = flags if by_flag > _SURE or not settings else settings
    why = " (settings have no dashes)" if near == settings and near else ""
    return f"there is no flag {flag}{typo.did_you_mean(near) or ': --help lists what there is'}{why}"


_SURE = 0.75
"""Likeness from which a dashed word is a mistyped flag rather than a setting."""


def problems(words: Sequence[str], unread: Collection[str], spelling: Spelling) -> list[str]:
    """Return one sentence for each of the `unread` words, and one where several belong together."""
    told: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        following = rest[0] if rest else ""
        if (word in unread and following.startswith("=")) or (word.endswith("=") and _is_bare(following)):
            together = word + rest.popleft()
            if together.endswith("=") and rest and _is_bare(rest[0]):
                together += rest.popleft()
            told.append(unreadable(together, spelling) if word == "=" else _spaced(together))
        elif word in unread:
            told.append(unreadable(word, spelling) if "=" in word else _bare_word(word, spelling))
    return told


def _is_bare(word: str) -> bool:
    return bool(word) and "=" not in word


def _spaced(together: str) -> str:
    return f"no spaces around '=': did you mean {together}?"


def _bare_word(word: str, spelling: Spelling) -> str:
    return f"{word!r} is not an override{typo.did_you_mean(_meant(word, spelling)) or f': {_FORM}'}"


def _meant(word: str, spelling: Spelling) -> list[str]:
    """Return overrides for an option, a stage, a recipe or a file that was named alone."""
    if os.path.isfile(word):
        return suggest.for_option("data", word, spelling.words)
    name = word.lstrip("+")
    names = {suggest.choice("recipe", option): option for option in spelling.words.groups["recipe"]}
    names |= {f"stages=[{stage}]": str(stage) for stage in StageName}
    names |= {f"{group}={option}": option for group, options in spelling.words.groups.items() for option in options}
    names |= {flag: flag.lstrip("-") for flag in FLAGS}
    names |= {f"{key}=VALUE": key for key in spelling.words.keys}
    scores = {text: typo.likeness(name, option) for text, option in names.items()}
    best = max(scores, key=lambda text: scores[text])
    return [best] if scores[best] >= typo.ALIKE else []


def unreadable(text: str, spelling: Spelling) -> str:
    """Say why Hydra's grammar cannot read an override, and how it would."""
    key, _, value = text.partition("=")
    if not key.strip():
        return f"{text!r} has nothing before its '=': {_FORM}"
    if not _PLAIN_KEY.fullmatch(key):
        plain = re.sub(r"[^\w./-]+", "_", key.strip())
        return spelling.unknown(plain, value, text=text)
    sliced = _SLICE.fullmatch(value)
    if sliced:
        return f"{text}: a slice has a setting of its own: did you mean {key}={sliced[1]} data.take={sliced[2]}?"
    closed = value + "".join(_CLOSERS[char] for char in reversed(_open_brackets(value)))
    if closed != value and hydra.parse(f"{key}={closed}", spelling.words):
        return f"{text}: a bracket is not closed: did you mean {key}={closed}?"
    for quote in "'\"":
        inside = f"{key}={quote}{value.strip(quote)}{quote}"
        if quote not in value.strip(quote) and hydra.parse(inside, spelling.words):
            outside = "'" if quote == '"' else '"'
            return f"{text}: the value needs quotes: did you mean {outside}{inside}{outside}?"
    return f"cannot read {text!r}: {_FORM}"


def _open_brackets(value: str) -> list[str]:
    left: list[str] = []
    for char in value:
        if char in _CLOSERS:
            left.append(char)
        elif left and char == _CLOSERS[left[-1]]:
            left.pop()
    return left
