"""What each endpoint serves and what it served before, so that `deploy.rollback=true` can bring that back."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.errors import DeployFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that an endpoint has served, after it had passed its whole roll-out."""

    label: str
    """Registered name and version."""
    model: str
    """Folder of the weights, or the ARM id of the version."""
    template_hash: str
    answers: str = ""
    """File with the evaluated model's answers; empty: it was not evaluated."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was served, where that comes back as well."""

    @property
    def answers_file(self) -> Path | None:
        """`answers` as a path."""
        return Path(self.answers) if self.answers else None


def file_of(kind: str, name: str, *, outputs: Path) -> Path:
    """Return where the history of an endpoint is kept; `kind` is `local` or `azure`."""
    return outputs / "endpoints" / f"{kind}-{name}.json"


def forget(kind: str, *, outputs: Path) -> None:
    """Remove every history of a kind."""
    for file in (outputs / "endpoints").glob(f"{kind}-*.json"):
        file.unlink(missing_ok=True)


def note(entry: Entry, file: Path) -> None:
    """Take down what is served from now on; what was served until now is kept as what was before."""
    _before, now = _read(file)
    if now == entry:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    values = {"now": asdict(entry), "before": asdict(now) if now else None}
    aside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    aside.replace(file)


def before(file: Path, *, name: str) -> Entry:
    """Return what the endpoint served before; raises DeployFailed where that is nothing."""
    found, _now = _read(file)
    if found is None:
        raise DeployFailed(
            f"deploy.rollback=true: endpoint {name} has served nothing before what it serves now; leave it out"
        )
    return found


def _read(file: Path) -> tuple[Entry | None, Entry | None]:
    """Return what was before and what is now, as far as it is known."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return _entry(values["before"]), _entry(values["now"])
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise DeployFailed(f"the endpoint's history {file} cannot be read ({err}): delete it") from err


def _entry(values: dict[str, Any] | None) -> Entry | None:
    return Entry(**values) if values else None
