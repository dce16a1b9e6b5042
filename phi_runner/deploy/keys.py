"""The endpoint's key: made once, kept in a file that only its owner can read."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from phi_runner.errors import DeployFailed

_PRIVATE = 0o600
_PRIVATE_FOLDER = 0o700


def file_of(name: str, *, outputs: Path) -> Path:
    """Return where the key of the endpoint `name` is kept."""
    return outputs / "keys" / f"{name}.key"


def ensure(file: Path) -> str:
    """Return the key in `file`; where there is none, one is made, its mode and its content at once."""
    if not file.exists():
        _make(file)
    return read(file)


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
    descriptor, aside = tempfile.mkstemp(dir=file.parent)  # mode 0600 from the first moment, whatever the umask
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):  # a link never replaces: of two that start at once, both use one key
            os.link(aside, file)
    finally:
        os.unlink(aside)


def read(file: Path) -> str:
    """Return the first key in `file`, closing it to others where it was open; raises DeployFailed when it has none."""
    try:
        if file.stat().st_mode & 0o077:
            file.chmod(_PRIVATE)
        found = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as err:
        raise DeployFailed(f"cannot read the endpoint's key in {file}: {err}; delete it and deploy again") from err
    if not found:
        raise DeployFailed(f"the key file {file} is empty: delete it and deploy again")
    return found[0]
