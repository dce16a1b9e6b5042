"""Who starts the trials of a sweep: the extra that each launcher needs, and the cores that it leaves to a trial."""

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_store import ConfigNode
from omegaconf import Container, DictConfig, OmegaConf

from phi_runner.config import cores, later, places
from phi_runner.config.notices import Notice
from phi_runner.config.trial import State

GROUP = "hydra/launcher"
_SUBMITTED = ".submitit"
_CANCEL_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """One of Hydra's launchers that starts trials side by side."""

    extra: str
    needs: tuple[str, ...]


LAUNCHERS = {
    "joblib": Launcher(extra="joblib", needs=("hydra_plugins.hydra_joblib_launcher", "joblib")),
    "ray": Launcher(extra="ray", needs=("hydra_plugins.hydra_ray_launcher", "ray")),
    "submitit_local": Launcher(extra="slurm", needs=("hydra_plugins.hydra_submitit_launcher", "submitit")),
    "submitit_slurm": Launcher(extra="slurm", needs=("hydra_plugins.hydra_submitit_launcher", "submitit")),
}
"""`conf/launcher/*.yaml`, a preset each; `basic`, one trial after the other, is part of Hydra."""
LIBRARIES = frozenset({"joblib", "ray", "submitit"})
"""Top-level packages whose exceptions mean that a launcher, and not a trial, has failed."""


def problem(name: str, *, multirun: bool) -> str:
    """Say why a launcher cannot be used, or nothing."""
    known = LAUNCHERS.get(name)
    if known is None:
        return ""
    if not all(map(_installed, known.needs)):
        return f"{GROUP}={name} needs an extra: type pip install 'phi-runner[{known.extra}]'"
    return "" if multirun else f"{GROUP}={name} starts the trials of a sweep: add -m, or leave it out"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent, the package of all plugins
        return False


def beside(name: str) -> bool:
    """Say whether trials run beside one another, in processes of their own."""
    return name != "basic"


def register() -> None:
    """Teach Hydra our presets, over the plugins' own settings where a plugin is installed; plugins come first.

    They are no files of the group `hydra/launcher`: Hydra warns of each file that is named as a plugin's schema is.
    `${share_of_cores:2}` in them is half of the cores of this machine.
    """
    OmegaConf.register_new_resolver("share_of_cores", lambda count: max(1, cores.here() // int(count)), replace=True)
    shelf = later.shelf(GROUP)
    for file in sorted(places.folder("conf").glob("launcher/*.yaml")):
        later.store(file.stem, partial(_preset, file, shelf.get(file.name)), group=GROUP)


def _preset(file: Path, plugins_own: ConfigNode | None) -> Container:
    """Return a preset over the plugin's own settings, which are there where the plugin is installed."""
    preset = OmegaConf.load(file)
    return OmegaConf.merge(plugins_own.node, preset) if plugins_own else preset


def cores_each(name: str, settings: DictConfig) -> int:
    """Return the cores that each trial may use, from the launcher's own settings; 0: all that it finds."""
    match name:
        case "joblib":
            at_once = int(settings.get("n_jobs") or 1)
            return max(1, cores.here() // at_once) if at_once > 0 else 1
        case "ray":
            return int(OmegaConf.select(settings, "ray.remote.num_cpus") or 0)
        case "submitit_local" | "submitit_slurm":
            return int(settings.get("cpus_per_task") or 0)
        case _:
            return 0


def quieten(name: str) -> None:
    """Keep a launcher's library from reporting to its makers, and from talking between our lines."""
    if name == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        logging.getLogger("ray").setLevel(logging.ERROR)
    elif name.startswith("submitit"):  # it repeats that a cluster keeps no accounts; its import sets the level anew
        logging.getLogger("submitit").addFilter(lambda record: record.levelno >= logging.ERROR)


def end(notices: Iterable[Notice], *, sweep: Path, since: float) -> None:
    """End the trials that still run: processes of this machine, and jobs that a cluster has of this command."""
    for notice in notices:
        if notice.state is State.running and notice.host == socket.gethostname() and notice.pid != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(notice.pid, signal.SIGTERM)
    folders = [item for item in (sweep / _SUBMITTED).glob("*") if item.is_dir() and item.stat().st_mtime >= since]
    jobs = sorted({item.name for item in folders if item.name.partition("_")[0].isdigit()})
    if jobs:
        with suppress(OSError, subprocess.TimeoutExpired):  # no Slurm here: they were processes
            command = ["scancel", "--quiet", *jobs]
            subprocess.run(command, check=False, capture_output=True, timeout=_CANCEL_S)  # noqa: S603 (numbers)
