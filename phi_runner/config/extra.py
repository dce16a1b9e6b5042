"""`train.extra` against the arguments that TRL's SFTConfig takes, read from its source: importing it takes seconds."""

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from phi_runner.config import typo
from phi_runner.config.habits import OWNED
from phi_runner.config.typed import as_text

_SOURCES = (
    ("transformers", "training_args.py", "TrainingArguments"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("trl", "trainer/sft_config.py", "SFTConfig"),
)
_SIMPLE = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "list": (list,), "dict": (dict,)}


def problems(extra: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each entry that TRL would not take, or that is a setting of ours."""
    if not extra:
        return
    known = arguments()
    for name, value in extra.items():
        if name in OWNED:
            yield f"train.extra.{name} is set through {OWNED[name]}: type {OWNED[name]}={as_text(value)}"
        elif known and name not in known:
            near = [f"+train.extra.{other}={as_text(value)}" for other in typo.nearest(name, [*known, *OWNED])]
            yield f"TRL has no argument {name!r}{typo.did_you_mean(near)}"
        elif known and not _fits(value, known[name]):
            yield f"train.extra.{name}={as_text(value)}: TRL wants {known[name]}"


@cache
def arguments() -> dict[str, str]:
    """Return the type of every argument by name, as TRL's source writes it; empty where TRL is not installed."""
    found: dict[str, str] = {}
    for package, path, name in _SOURCES:
        spec = importlib.util.find_spec(package)
        file = Path(spec.origin).parent / path if spec and spec.origin else None
        if file is None or not file.is_file():
            return {}
        found |= _fields(file, name)
    return found


def _fields(file: Path, name: str) -> dict[str, str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {
        line.target.id: ast.unparse(line.annotation)
        for body in bodies
        for line in body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and _is_argument(line)
    }


def _is_argument(line: ast.AnnAssign) -> bool:
    default = ast.unparse(line.value) if line.value else ""
    return "init=False" not in default and "ClassVar" not in ast.unparse(line.annotation)


def _fits(value: object, annotation: str) -> bool:
    """Compare a value with the simple types of an annotation; what is not simple there fits any text."""
    names = [part.strip().partition("[")[0] for part in annotation.split("|")]
    if value is None:
        return "None" in names or "Optional" in names
    allowed = tuple(kind for name in names for kind in _SIMPLE.get(name, (str,) if name != "None" else ()))
    if isinstance(value, bool):
        return bool in allowed
    return isinstance(value, allowed)
