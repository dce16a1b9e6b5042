"""Where conf/ and recipes/ lie and what their files say about themselves; reads text only, so that help stays quick."""

import re
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_SCHEMA = re.compile(r"\b(\w+)_schema\b")
_PARENT = re.compile(r"^defaults:\s*(?:\[|\n?\s*-\s*)\s*(\w+)", re.MULTILINE)
_DEFAULT = re.compile(r"^\s*- (\w+): (\w+)", re.MULTILINE)
_OVERRIDE = re.compile(r"^\s*- override /(\w+): (\w+)", re.MULTILINE)
_REPO = re.compile(r"^repo:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One YAML file that a user can choose by name."""

    name: str
    about: str
    """Its first comment line."""
    kind: str = ""
    """The schema that it fills; empty for a recipe."""
    repo: str = ""
    """Hub id of what it names, so that the id itself can be recognised."""


def folder(name: str) -> Path:
    """Find `conf` or `recipes`: inside the installed package, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def presets(group: str, *, extra: Path | None = None) -> dict[str, Preset]:
    """Return the options of a group (`recipe` too) by name, those of a user's `--config-dir` among them."""
    own = folder("recipes") if group == "recipe" else folder("conf") / group
    folders = [own, extra / group] if extra else [own]
    texts = {file.stem: file.read_text(encoding="utf-8") for place in folders for file in sorted(place.glob("*.yaml"))}
    return {
        name: Preset(name=name, about=_about(texts[name]), kind=_kind(name, texts), repo=_first(_REPO, texts[name]))
        for name in sorted(texts)
    }


def _about(text: str) -> str:
    comments = (line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def _kind(name: str, texts: dict[str, str]) -> str:
    """Name the schema of a preset, which may stand in the preset that it builds on."""
    text = texts.get(name, "")
    parent = _first(_PARENT, text)
    return _first(_SCHEMA, text) or (_kind(parent, texts) if parent not in ("", name) else "")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def chosen(recipe: str = "") -> dict[str, str]:
    """Return the option of each group that `conf/config.yaml` chooses, and then a shipped recipe."""
    defaults = (folder("conf") / "config.yaml").read_text(encoding="utf-8")
    file = folder("recipes") / f"{recipe}.yaml"
    changes = file.read_text(encoding="utf-8") if file.is_file() else ""
    return dict(_DEFAULT.findall(defaults)) | dict(_OVERRIDE.findall(changes))
