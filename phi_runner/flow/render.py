"""Write the flow folder from the templates: a chat flow that names its connection, and holds no address or key."""

import hashlib
import json
import math
import os
from pathlib import Path

import yaml

from phi_runner.config.schema import ChatConfig, PromptFlow
from phi_runner.errors import FlowFailed

_TEMPLATES = Path(__file__).resolve().parent / "template"
_NAMES = {"gitignore": ".gitignore"}  # a real .gitignore in the package would hide files from the wheel
_WRITTEN = ".written.json"


def _scalar(value: str | float) -> str:
    """Return a value as one line of YAML."""
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=math.inf)
    return text.splitlines()[0]


def texts(flow: PromptFlow, *, chat: ChatConfig, chat_form: bool = True) -> dict[str, str]:
    """Return what each file of the flow folder holds, by file name; `chat_form` is what the endpoint answers."""
    values = {
        "name": flow.name,
        "connection": _scalar(flow.connection),
        "question": _scalar(flow.question),
        "temperature": _scalar(float(chat.temperature)),
        "max_new_tokens": _scalar(chat.max_new_tokens),
        "chat_form": _scalar(chat_form),
    }
    found = {}
    for template in sorted(_TEMPLATES.iterdir()):
        if template.is_file():
            text = template.read_text(encoding="utf-8")
            for name, value in values.items():
                text = text.replace("{{" + name + "}}", value)
            found[_NAMES.get(template.name, template.name)] = text
    return found


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


def render(flow: PromptFlow, *, chat: ChatConfig, folder: Path, chat_form: bool = True) -> list[str]:
    """Write the flow into `folder` and return the names of files that someone had edited, now kept as `NAME.edited`."""
    wanted, before, edited = texts(flow, chat=chat, chat_form=chat_form), _written_before(folder), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            file = folder / name
            there = file.read_bytes() if file.is_file() else text.encode()
            if there != text.encode() and _hash(there) != before.get(name):
                file.replace(folder / f"{name}.edited")
                edited.append(name)
            _replace(file, text)
        _replace(folder / _WRITTEN, json.dumps({name: _hash(text.encode()) for name, text in wanted.items()}))
    except OSError as err:
        raise FlowFailed(f"the flow folder {folder} cannot be written: {err.strerror or err}") from err
    return edited


def is_current(flow: PromptFlow, *, chat: ChatConfig, folder: Path, chat_form: bool = True) -> bool:
    """Say whether `folder` holds exactly this flow."""
    wanted = texts(flow, chat=chat, chat_form=chat_form)
    try:
        return all((folder / name).read_bytes() == text.encode() for name, text in wanted.items())
    except OSError:
        return False
