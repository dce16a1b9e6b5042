"""`python -m phi_runner.again ORDER`: run what an earlier run's folder holds, in a store of its own; see `reproduce`.

It ends with the runner that has started it. Before it runs it writes down what would decide each result now.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from phi_runner import environment, keys, processes, runner
from phi_runner.config import endings
from phi_runner.config.check import check
from phi_runner.config.rebuild import rebuild
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import PhiRunnerError
from phi_runner.stages import STAGES
from phi_runner.stages.stage import Inputs
from phi_runner.store import Parts, key_of, write_json


def expected(config: RunConfig) -> dict[str, Parts]:
    """Return the parts of each selected stage's key as they are now; a file that is gone ends the list."""
    found: dict[str, Parts] = {}
    above: dict[StageName, str] = {}
    for stage in STAGES:
        if stage.name not in config.stages or stage.skip(config) or stage.produces is None:
            continue
        try:
            parts = keys.parts(stage, config, Inputs({}, dict(above)))
        except (OSError, KeyError):  # the run itself will say what is missing
            break
        found[str(stage.name)], above[stage.name] = parts, key_of(parts)
    return found


def perform(order: dict[str, Any]) -> None:
    """Do what an order says: `values`, `kinds`, `folder`, `parts_file`, `overrides`, `recipe`."""
    config = rebuild(order["values"], kinds=order["kinds"])
    check(config)
    environment.prepare(config)
    write_json(Path(order["parts_file"]), expected(config))
    runner.perform(
        config, folder=Path(order["folder"]), overrides=order["overrides"], recipe=order["recipe"], trial=None
    )  # fmt: skip


def main() -> None:
    """Read the order, go to where the first run was, and end as a run does."""
    processes.stop_with_parent()
    order = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name in order["unset"]:  # what the parent has set for its own run
        os.environ.pop(name, None)
    if Path(order["where"]).is_dir():
        os.chdir(order["where"])
    with endings.told():
        try:
            perform(order)
        except PhiRunnerError:
            raise
        except Exception as err:
            endings.say_failure(err)
            raise SystemExit(1) from err


if __name__ == "__main__":
    main()
