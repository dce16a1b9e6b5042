"""`python -m tests.e2e.forked`: runs the command many times, each in a forked child that finds the slow imports done.

Lines of JSON in: what to run, then "go"; lines of JSON out: the child's pid while it waits for that, then its exit code.
"""

import json
import os
import sys
import warnings
from typing import Any


def main() -> None:
    """Serve until stdin ends; a child leaves the loop and ends as the command does."""
    warnings.simplefilter("ignore")
    import azure.ai.ml.entities
    import azure.identity
    import httpx
    import mlflow
    import mlflow.store.tracking.sqlalchemy_store

    import phi_runner.compute.azure
    import phi_runner.runner
    from phi_runner.__main__ import run

    _tell("ready", os.getpid())
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _become(asked)
            run()
        os.waitpid(child, os.WUNTRACED)
        _tell("pid", child)
        sys.stdin.readline()
        os.kill(child, 18)  # SIGCONT
        _tell("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _tell(name: str, value: int) -> None:
    sys.stdout.write(json.dumps({name: value}) + "\n")
    sys.stdout.flush()


def _become(asked: dict[str, Any]) -> None:
    """Make this child the command that was asked for, stopped until it may go."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv[:] = ["phi_runner", *asked["arguments"]]
    os.kill(os.getpid(), 19)  # SIGSTOP


if __name__ == "__main__":
    main()
