"""Write the flow folder from the templates: a chat flow that names its connection, and holds no address or key."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from phi_runner.errors import FlowFailed
from phi_runner.flow.spec import FlowSpec

_TEMPLATES = Path(__file__).resolve().parent / "template"
_PARTS = {
    "promptflow": ("endpoint", "promptflow"),
    "plain": ("endpoint", "script", "plain"),
    "agent_framework": ("endpoint", "script", "agent_framework"),
}
"""Folders of templates that make up the folder of each kind of flow."""
_NAMES = {"gitignore": ".gitignore"}  # a real .gitignore in the package would hide files from the wheel
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_WRITTEN = ".written.json"


def _scalar(value: str | float) -> str:
    """Return a value as one line of YAML."""
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=math.inf)
    return text.splitlines()[0]


def _templates(spec: FlowSpec) -> Iterator[tuple[str, Path]]:
    """Yield each file's name in the flow folder and its template."""
    parts = (*_PARTS[spec.kind], *(("evaluation",) if spec.evaluated else ()))
    for part in parts:
        for file in sorted((_TEMPLATES / part).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                name = file.relative_to(_TEMPLATES / part).as_posix()
                yield _NAMES.get(name, name), file


def texts(spec: FlowSpec) -> dict[str, str]:
    """Return what each file of the flow folder holds, by its name in there."""
    values = {
        "name": spec.name,
        "environment": spec.environment,
        "connection": _scalar(spec.connection),
        "question": _scalar(spec.question),
        "temperature": _scalar(spec.manner.temperature),
        "max_new_tokens": _scalar(spec.manner.max_new_tokens),
        "chat_form": _scalar(spec.manner.chat_form),
        "streams": _scalar(spec.manner.streams),
    }
    found = {}
    for file_name, template in _templates(spec):
        text = template.read_text(encoding="utf-8")
        found[file_name] = _PLACE.sub(lambda place: values.get(place[1], place[0]), text)
    return found if spec.kind == "promptflow" else {**found, "flow.json": spec.settings()}


def requirements(kind: str) -> list[str]:
    """Return what has to be installed for a flow of that kind."""
    return (_TEMPLATES / kind / "requirements.txt").read_text(encoding="utf-8").split()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _written_before(folder: Path) -> dict[str, str]:
    try:
        hashes: dict[str, str] = json.loads((folder / _WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return hashes


def _replace(file: Path, text: str) -> None:
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)


def _keep_if_edited(file: Path, text: str, *, before: str | None) -> bool:
    """Put a file that someone has edited aside; `before` is the hash of what we had written."""
    there = file.read_bytes() if file.is_file() else text.encode()
    if there == text.encode() or _hash(there) == before:
        return False
    file.replace(file.with_name(f"{file.name}.edited"))
    return True


def render(spec: FlowSpec, *, folder: Path) -> list[str]:
    """Write the flow into `folder` and return the names of files that someone had edited, now kept as `NAME.edited`.

    Files of another kind of flow that lay there as we had written them are removed.
    """
    wanted, before, edited = texts(spec), _written_before(folder), []
    try:
        for name, text in wanted.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if _keep_if_edited(file, text, before=before.get(name)):
                edited.append(name)
            _replace(file, text)
        _remove_others(folder, before, wanted=set(wanted))
        _replace(folder / _WRITTEN, json.dumps({name: _hash(text.encode()) for name, text in wanted.items()}))
    except OSError as err:
        raise FlowFailed(f"the flow folder {folder} cannot be written: {err.strerror or err}") from err
    return edited


def _remove_others(folder: Path, before: dict[str, str], *, wanted: set[str]) -> None:
    """Remove what an earlier flow of another kind left, unless someone has edited it."""
    for name in set(before) - wanted:
        file = folder / name
        if file.is_file() and _hash(file.read_bytes()) == before[name]:
            file.unlink()


def is_current(spec: FlowSpec, *, folder: Path) -> bool:
    """Say whether `folder` holds exactly this flow."""
    try:
        return all((folder / name).read_bytes() == text.encode() for name, text in texts(spec).items())
    except OSError:
        return False
