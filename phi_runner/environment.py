"""What libraries are told before they are imported: no telemetry, no bars of their own, no hub unless needed."""

import logging
import os
import warnings
from pathlib import Path

from phi_runner.config.schema import HubData, HubModel, RunConfig

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Threads that spin at a barrier while their core is lent elsewhere cost more than they bring: on a shared 2-core
    # machine training steps took 0.28 s instead of 0.5 to 3.9 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def needs_hub(config: RunConfig) -> bool:
    """Say whether the data or the model may have to be downloaded."""
    return isinstance(config.data, HubData) or (isinstance(config.model, HubModel) and not config.model.path)


def prepare(config: RunConfig) -> None:
    """Set the variables that libraries read at import; what the user has set stays."""
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)
    if not needs_hub(config):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


class LibraryLog:
    """Sends what libraries log or warn into the run's log file during a block, instead of over the live view."""

    def __init__(self, file: Path) -> None:
        self._handler = logging.FileHandler(file, delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
        self._handler.setLevel(logging.WARNING)

    def __enter__(self) -> None:
        logging.captureWarnings(True)
        warnings.simplefilter("default")
        logging.getLogger().addHandler(self._handler)

    def __exit__(self, *_exception: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        logging.captureWarnings(False)
        self._handler.close()
