"""What libraries are told before they are imported: no telemetry, no bars of their own, no hub unless needed."""

import logging
import os
import sys
import warnings
from pathlib import Path

from phi_runner.config.schema import GpuCompute, GpusCompute, HubData, HubModel, RunConfig
from phi_runner.errors import ConfigProblem

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",  # what azure-ai-ml brings along asks Microsoft for settings
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Threads that spin at a barrier while their core is lent elsewhere cost more than they bring: on a shared 2-core
    # machine training steps took 0.28 s instead of 0.5 to 3.9 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
_OFFLINE = "HF_HUB_OFFLINE"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_READ_ONCE = {"huggingface_hub.constants": "TRANSFORMERS_OFFLINE", "datasets.config": "HF_DATASETS_OFFLINE"}
"""Where libraries keep what they have read at their import, and the variable with which a user decides for them."""
_ours: dict[str, str] = {}
"""Variables that this process has set for a run and may set otherwise for the next one, trials of a sweep."""


def needs_hub(config: RunConfig) -> bool:
    """Say whether the data or the model may have to be downloaded."""
    return isinstance(config.data, HubData) or (isinstance(config.model, HubModel) and not config.model.path)


def prepare(config: RunConfig) -> None:
    """Set the variables that libraries read at import; what the user has set stays.

    Raises ConfigProblem when a sweep asks for a second CUDA device: a process sees the one that it has begun with.
    """
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)
    _switch_hub(off=not needs_hub(config))
    if isinstance(config.compute, GpuCompute):
        _show_one_device(config.compute.device)
    elif isinstance(config.compute, GpusCompute) and config.compute.processes == 1:
        _show_one_device(0)  # several processes see all devices, and each takes the one of its own number


def _is_the_users(name: str) -> bool:
    return name in os.environ and os.environ[name] != _ours.get(name)


def _switch_hub(*, off: bool) -> None:
    """Switch the hub off or on, in libraries too that are imported already."""
    if _is_the_users(_OFFLINE):
        return
    if off:
        os.environ[_OFFLINE] = _ours[_OFFLINE] = "1"
    elif _OFFLINE not in os.environ:
        return
    else:
        del os.environ[_OFFLINE], _ours[_OFFLINE]
    for module, users_own in _READ_ONCE.items():
        if module in sys.modules and users_own not in os.environ:
            setattr(sys.modules[module], _OFFLINE, off)


def set_here() -> list[str]:
    """Return the variables that this process has set for its own run, which a child's run must decide anew."""
    return [name for name, value in _ours.items() if os.environ.get(name) == value]


def _show_one_device(device: int) -> None:
    """Hide all CUDA devices but one: transformers' Trainer takes every device that it sees."""
    if _is_the_users(_VISIBLE) or _ours.get(_VISIBLE) == str(device):
        return
    if "torch" not in sys.modules:
        os.environ[_VISIBLE] = _ours[_VISIBLE] = str(device)
    elif _VISIBLE in _ours:
        raise ConfigProblem(
            f"compute.device={device}: this process has begun with device {_ours[_VISIBLE]} and sees no other: "
            "type one device for all trials of a sweep"
        )


def cuda_number(device: int) -> int:
    """Return the number that `compute.device` has in this process: 0 where it is the only one to be seen."""
    return 0 if os.environ.get(_VISIBLE) == str(device) else device


class LibraryLog:
    """Sends what libraries log or warn into the run's log file during a block, instead of over the live view."""

    def __init__(self, file: Path) -> None:
        self._handler = logging.FileHandler(file, delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
        self._handler.setLevel(logging.WARNING)

    def __enter__(self) -> None:
        self._filters = warnings.catch_warnings()
        self._filters.__enter__()
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        logging.getLogger().addHandler(self._handler)

    def __exit__(self, *_exception: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        logging.captureWarnings(False)
        self._filters.__exit__(None, None, None)
        self._handler.close()
