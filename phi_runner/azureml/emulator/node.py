"""What a process on an emulated node finds: a short list of this machine's variables, and none of the client's."""

import os
import stat
from pathlib import Path

_KEPT = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
)  # fmt: skip
"""A node sees nothing of the laptop's proxies, certificates and sign-in. HF_*: what a node would download from the
hub comes from this machine's cache."""


def environment(python: str, *, folder: Path) -> dict[str, str]:
    """Return a node's variables, with `python` on its path being the interpreter given; writes to `folder`."""
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):  # a link would lose the interpreter's virtual environment
        launcher = folder / name
        launcher.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', encoding="utf-8")
        launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    path = [str(folder), str(Path(python).parent), found.get("PATH", os.defpath)]
    return found | {"PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
