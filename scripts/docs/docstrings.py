"""The strings that stand below fields and enum members; Python keeps none of them, so the source is read."""

import ast
import inspect
from functools import cache
from pathlib import Path


def below(owner: type) -> dict[str, str]:
    """Return the string below each field or member of a class, by name, in one line; "" where there is none."""
    found: dict[str, str] = {}
    last = ""
    for line in _body(owner):
        match line:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                last = name
                found[name] = ""
            case ast.Expr(value=ast.Constant(value=str(text))) if last:
                found[last] = " ".join(text.split())
                last = ""
            case _:
                last = ""
    return found


def of(owner: type) -> str:
    """Return a class's own docstring in one line; dataclasses invent one where there is none, which is no docstring."""
    return " ".join((inspect.getdoc(owner) or "").split())


def _body(owner: type) -> list[ast.stmt]:
    file = inspect.getsourcefile(owner)
    if file is None:
        raise TypeError(f"{owner} has no source file")
    classes = (node for node in _tree(Path(file)).body if isinstance(node, ast.ClassDef))
    return next(node.body for node in classes if node.name == owner.__name__)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
