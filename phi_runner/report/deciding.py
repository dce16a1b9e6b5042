"""What makes two results the same: bytes of weights and rows, figures less times, ids and places."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi_runner.report.run_folder import read_json, rows, table
from phi_runner.store import MANIFEST_FILE

_PICTURES = re.compile(r"\.(png|svg|html|log|lock)$")
_NOT_COMPARED = frozenset({MANIFEST_FILE, "measured.json"})
"""`measured.json` is how fast it went."""
_PASSING = re.compile(
    r"(runtime|per_second|seconds|_s|_at|_ms)$"
    r"|^(tracking_run|tracking_uri|job|job_output|pid|url|key_file|version|source|asset|resource|flow_folder|folder"
    r"|detached|deployment|made|machine|path|file)$"
)
"""Fields that differ between two runs which are the same: times, ids, places."""
_LARGEST_JSON = 32 * 2**20


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of each file of a stored result that decides whether another one is the same.

    Large files are not read again: the manifest has their sha256. Empty where there is no manifest.
    """
    manifest = table(read_json(folder / MANIFEST_FILE))
    found = {}
    for item in rows(manifest.get("files")):
        path = str(item.get("path"))
        name = path.rpartition("/")[2]
        if name in _NOT_COMPARED or _PICTURES.search(name):
            continue
        is_json = name.endswith(".json") and item.get("size", 0) < _LARGEST_JSON
        found[path] = (_json_digest(folder / path) if is_json else "") or str(item.get("sha256"))
    return found


def lasting(value: Any) -> Any:
    """Return a JSON value without the fields that pass: times, ids, places."""
    if isinstance(value, dict):
        return {name: lasting(inner) for name, inner in value.items() if not _PASSING.search(str(name))}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def _json_digest(file: Path) -> str:
    value = read_json(file)
    if value is None:
        return ""
    text = json.dumps(lasting(value), sort_keys=True, ensure_ascii=False)
    return "json:" + hashlib.sha256(text.encode()).hexdigest()


def other_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the files whose digests differ or that only one result has; weights and rows first."""
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return sorted(changed, key=lambda name: (name.endswith(".json"), name))


def other_figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say which fields of two artifacts differ: `loss_last 6.80 -> 6.79`."""
    first, second = lasting(dict(before)), lasting(dict(after))
    names = [name for name in first if name in second and first[name] != second[name]]
    return [f"{name} {_short(first[name])} -> {_short(second[name])}" for name in names]


def _short(value: object) -> str:
    shown = repr(value) if isinstance(value, float) else str(value)
    return shown if len(shown) <= 24 else shown[:21] + "..."
