"""`train.extra` against the arguments that TRL's own config takes, read from its source: importing it takes seconds."""

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from phi_runner.config import typo
from phi_runner.config.habits import OWNED, OWNED_BY_DPO
from phi_runner.config.schema import DpoTrain, TrainConfig
from phi_runner.config.typed import as_text

_SHARED = (
    ("transformers", "training_args.py", "TrainingArguments"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
)
_OWN = {
    "SFTConfig": ("trl", "trainer/sft_config.py", "SFTConfig"),
    "DPOConfig": ("trl", "trainer/dpo_config.py", "DPOConfig"),
}
_SIMPLE = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "list": (list,), "dict": (dict,)}


def problems(extra: Mapping[str, Any], *, config: str = "SFTConfig") -> Iterator[str]:
    """Yield one sentence for each entry that this config of TRL's would not take, or that is a setting of ours."""
    if not extra:
        return
    known = arguments(config)
    owned = OWNED | (OWNED_BY_DPO if config == "DPOConfig" else {})
    for name, value in extra.items():
        if name in owned:
            yield f"train.extra.{name} is set through {owned[name]}: type {owned[name]}={as_text(value)}"
        elif known and name not in known:
            near = [f"+train.extra.{other}={as_text(value)}" for other in typo.nearest(name, [*known, *owned])]
            yield f"TRL has no argument {name!r}{typo.did_you_mean(near)}"
        elif known and not _fits(value, known[name]):
            yield f"train.extra.{name}={as_text(value)}: TRL wants {known[name]}"


def config_of(train: TrainConfig) -> str:
    """Return the name of TRL's config class that a training method fills."""
    return "DPOConfig" if isinstance(train, DpoTrain) else "SFTConfig"


@cache
def arguments(config: str = "SFTConfig") -> dict[str, str]:
    """Return the type of every argument of a TRL config by name, as its source writes it; empty without TRL."""
    found: dict[str, str] = {}
    for package, path, name in (*_SHARED, _OWN[config]):
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
