"""Put typed values into a composed config, and say what is wrong with a value in terms of its type."""

from enum import StrEnum
from math import ceil, floor, isfinite
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from phi_runner.config import suggest, typo
from phi_runner.config.load import reworded
from phi_runner.config.schema import SCHEMAS
from phi_runner.config.typed import Sign, Typed, as_text
from phi_runner.config.vocabulary import Key, Vocabulary

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_FACTORS = {"k": 1024.0, "%": 0.01}
_WANTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}


def choices(node: DictConfig) -> dict[str, str]:
    """Return the option of each group of a composed config."""
    chosen = node.hydra.runtime.choices
    return {group: str(chosen[group]) for group in SCHEMAS}


def foreign(key: Key, typed: Typed, node: DictConfig, words: Vocabulary) -> str:
    """Say that a key belongs to another option than the chosen one, or nothing."""
    if not key.kinds or not (isinstance(node.get(key.group), DictConfig)):
        return ""
    schema = OmegaConf.get_type(node[key.group])
    if schema is not None and getattr(schema, "kind", "") in key.kinds:
        return ""
    options, chosen = words.options_of(key), choices(node)
    homes = " or ".join(f"{key.group}={option}" for option in options)
    told = suggest.assignment(key.path, typed.raw, words, chosen=chosen)
    return f"{key.path} belongs to {homes}, and this run has {key.group}={chosen[key.group]}: did you mean {told}?"


def put(node: DictConfig, typed: Typed, value: object, words: Vocabulary) -> str:
    """Do to `node` what Hydra will do with the override, or say what is wrong with it."""
    now = OmegaConf.select(node, typed.key, throw_on_resolution_failure=False)
    present = now is not None
    if typed.sign is Sign.remove:
        return _remove(node, typed, present=present)
    if words.open_parent(typed.key) and typed.sign is Sign.set and not present:
        return f"{typed.key} is not set yet: type +{typed.text} to add it"
    try:
        OmegaConf.update(node, typed.key, value, merge=True, force_add=typed.sign is not Sign.set)
    except (OmegaConfBaseException, ValueError, TypeError) as err:
        key = words.keys.get(typed.key)
        return _wrong_value(key, typed, value, now=now) if key else f"{typed.spelled(value)}: {reworded(err)}"
    return ""


def _remove(node: DictConfig, typed: Typed, *, present: bool) -> str:
    head, _, leaf = typed.key.rpartition(".")
    if not present:
        return f"{typed.text}: {typed.key} is not set, so leave that out"
    with open_dict(node):
        del OmegaConf.select(node, head)[leaf]
    return ""


def _wrong_value(key: Key, typed: Typed, value: object, *, now: object) -> str:
    said = f"{typed.spelled(value)}: "
    members = _members(key.hint)
    if members and not (key.is_list and not isinstance(value, list)):
        wrong = [item for item in (value if isinstance(value, list) else [value]) if str(item) not in members]
        return said + _wrong_choice(key, wrong, value, members)
    if key.is_list:
        return said + f"{key.path} is a list{typo.did_you_mean([f'{key.path}=[{as_text(value)}]'])}"
    wanted = _WANTED.get(key.hint, "a table of values")
    such_as = "" if now is None else f", such as {key.path}={as_text(now)}"
    repaired = typo.did_you_mean(_repaired(key, value)) or such_as
    return said + f"{key.path} is {wanted}{repaired}"


def _members(hint: Any) -> list[str]:
    inner = (get_args(hint) or (hint,))[0]
    return [str(member) for member in inner] if isinstance(inner, type) and issubclass(inner, StrEnum) else []


def _wrong_choice(key: Key, wrong: list[object], value: object, members: list[str]) -> str:
    """Name the nearest legal values in place of the wrong ones."""
    near = {str(item): typo.nearest(str(item), members) for item in wrong}
    legal = f"{' and '.join(near)} is none of {', '.join(members)}"
    if not all(near.values()):
        return legal
    given = value if isinstance(value, list) else [value]
    items = [near[str(item)][0] if str(item) in near else str(item) for item in given]
    repaired = f"[{','.join(items)}]" if isinstance(value, list) else items[0]
    return f"{legal}{typo.did_you_mean([f'{key.path}={repaired}'])}"


def _repaired(key: Key, value: object) -> list[str]:
    """Guess the value that was meant: a number in words, with a `k`, as a share in per cent, a mistyped switch."""
    text = as_text(value).lower()
    if key.hint is bool:
        return [f"{key.path}={word}" for word in typo.nearest(text, ["true", "false"])]
    if text in _WORDS:
        number: float | None = float(_WORDS.index(text))
    else:
        number = _number(text[:-1], _FACTORS[text[-1]]) if text[-1:] in _FACTORS else _number(text, 1.0)
    if number is None or key.hint not in (int, float):
        return []
    near = sorted({floor(number), ceil(number)}) if key.hint is int else [number]
    return [f"{key.path}={value}" for value in near]


def _number(text: str, factor: float) -> float | None:
    try:
        number = float(text.replace(",", ".")) * factor
    except ValueError:
        return None
    return number if isfinite(number) else None
