"""`python -m tests.e2e.forked`: performs many runs, each in a forked child that finds imports and composing done.

Lines of JSON in: what to run, then "go"; lines of JSON out: the child's pid while it waits for that, then its exit
code.
"""

import importlib
import json
import os
import shlex
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

_SLOW = (
    "azure.ai.ml.entities", "azure.core.rest._requests_basic", "azure.identity", "httpcore", "httpx",
    "mlflow.store.tracking.sqlalchemy_store", "sqlalchemy.dialects.sqlite", "phi_runner.azureml.infra",
    "phi_runner.compute.azure", "phi_runner.deploy.azure", "phi_runner.runner",
)  # fmt: skip
_TYPES = {"train.weight_decay": float, "deploy.max_new_tokens": int, "deploy.name": str, "register.name": str}
"""What differs from one trial to the next is set without Hydra, whose composing takes a second."""


def main() -> None:
    """Serve until stdin ends; a child leaves the loop and ends as the command does."""
    warnings.simplefilter("ignore")
    for name in _SLOW:
        importlib.import_module(name)
    from tests.config.configs import config_of

    _tell("ready", os.getpid())
    for line in sys.stdin:
        asked = json.loads(line)
        words = [word for word in asked["arguments"] if word.split("=")[0] not in _TYPES]
        config = config_of(shlex.join(words))
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _become(asked)
            _perform(config, asked["arguments"])
        os.waitpid(child, os.WUNTRACED)
        _tell("pid", child)
        sys.stdin.readline()
        os.kill(child, signal.SIGCONT)
        _tell("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _tell(name: str, value: int) -> None:
    sys.stdout.write(json.dumps({name: value}) + "\n")
    sys.stdout.flush()


def _become(asked: dict[str, Any]) -> None:
    """Make this child the process of the run, stopped until it may go."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    os.kill(os.getpid(), signal.SIGSTOP)


def _perform(config: Any, arguments: list[str]) -> None:
    """Check and perform a run, and end as `phi_runner.config.launch` does."""
    from phi_runner import runner
    from phi_runner.config import endings
    from phi_runner.config.check import check

    for word in arguments:
        name, _, value = word.partition("=")
        if name in _TYPES:
            group, _, leaf = name.partition(".")
            setattr(getattr(config, group), leaf, _TYPES[name](value))
    with endings.told():
        check(config)
        folder = Path("outputs/runs") / str(time.time_ns())
        runner.perform(config, folder=folder.absolute(), overrides=arguments, recipe="", trial=None)
    raise SystemExit


if __name__ == "__main__":
    main()
