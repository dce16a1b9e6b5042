"""Follow the package's own imports in source, for tests about what a stage really uses."""

import ast
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_HARMLESS = (
    *("__init__.py", "artifacts.py", "errors.py", "events.py", "processes.py", "config/", "store.py"),
    *("stages/stage.py", "tracking/", "environment.py", "locks.py", "machine.py"),
    *("stages/records.py", "search/", "sweep/"),  # where a training is recorded, and whether a sweep gives it up
    *("preflight/", "pages/", "plots/"),  # what looks at a result that is made
    *("azureml/", "compute/", "ledger.py"),  # where a stage is performed: the node runs the very same stage code
)
"""Modules that carry results, words and metrics but decide no byte of a result (register names tracking itself)."""


def _file(module: str) -> Path | None:
    base = _ROOT / Path(*module.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("phi_runner"):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package_modules_of(source: str) -> set[str]:
    """Return the package files that `source` reaches by import, itself included, relative to the package."""
    todo, seen = [_ROOT / source], set()
    while todo:
        file = todo.pop()
        name = file.relative_to(_ROOT / "phi_runner").as_posix()
        if file in seen or (name.startswith(_HARMLESS) and name != source):
            continue
        seen.add(file)
        todo += [found for module in _imports(file) if (found := _file(module)) is not None]
    names = {file.relative_to(_ROOT / "phi_runner").as_posix() for file in seen}
    return {name for name in names if name != "model/__init__.py"}
