"""Every setting as the schemas write it: its path, what it may be, its default, and the docstring below it."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from phi_runner.config.ranges import RANGES
from scripts.docs import docstrings

_REQUIRED = "???"
"""OmegaConf's word for a value that has to be typed."""
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(?:,[^}]*)?\}")
_NAMES: dict[object, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Any: "anything",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a schema."""

    path: str
    about: str
    """The string below the field, in one line."""
    kind: str
    """What it may be, in words."""
    default: str
    """Its default as Markdown; empty where it has to be typed."""
    choices: tuple[tuple[str, str], ...] = ()
    """The values of a closed choice, each with the string below it."""


def own(schema: type, *, prefix: str, values: object = None) -> Iterator[Setting]:
    """Yield the settings that a class itself declares, those of the tables in it as well.

    `values` holds the defaults where the table that this one lies in has others than the class.
    """
    hints, told = get_type_hints(schema), docstrings.below(schema)
    for item in fields(schema):
        if item.name not in schema.__annotations__:
            continue
        hint, path = hints[item.name], f"{prefix}{item.name}"
        value = getattr(values, item.name) if values is not None else _default(item)
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _table(hint, path=path, about=told[item.name], value=value)
        else:
            yield Setting(
                path=path, about=told[item.name], kind=_kind(hint, path=path), default=_shown(value),
                choices=_choices(hint),
            )  # fmt: skip


def _table(schema: type, *, path: str, about: str, value: object) -> Iterator[Setting]:
    """Yield the settings of a table; the table's own string stands before that of each of its settings."""
    for setting in own(schema, prefix=f"{path}.", values=value if isinstance(value, schema) else None):
        text = " ".join(part for part in (about, setting.about) if part)
        yield Setting(
            path=setting.path, about=text, kind=setting.kind, default=setting.default, choices=setting.choices
        )


def _default(item: "Field[Any]") -> object:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _kind(hint: object, *, path: str) -> str:
    allowed = RANGES.get(path)
    return f"{_name(hint)}, {allowed}" if allowed else _name(hint)


def _name(hint: object) -> str:
    """Return a type in words."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join("`null`" if part is NoneType else _name(part) for part in arguments)
    if get_origin(hint) is list:
        return f"list of {_name(arguments[0])}"
    if get_origin(hint) is dict:
        return "names of your choice, added with a plus"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return f"one of {', '.join(f'`{member}`' for member in hint)}"
    return _NAMES[hint]


def _choices(hint: object) -> tuple[tuple[str, str], ...]:
    """Return the members of an enumeration, if one of them is explained."""
    if not (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return ()
    told = docstrings.below(hint)
    members = tuple((str(member), told.get(member.name, "")) for member in hint)
    return members if any(about for _name, about in members) else ()


def _shown(value: object) -> str:
    """Return a default as Markdown."""
    if value is MISSING or value == _REQUIRED:
        return ""
    if value in ("", [], {}):
        return "empty"
    if value is None:
        return "`null`"
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if found := _VARIABLE.fullmatch(text):
        return f"the environment variable `{found[1]}`, else empty"
    if found := _REFERENCE.fullmatch(text):
        return f"that of `{found[1]}`"
    return f"`{text}`"
