"""From a checked command line to finished stages: Hydra makes the folders and the trials, we say how they ended."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from phi_runner.config import endings, hydra
from phi_runner.config.flags import CommandLine
from phi_runner.config.jobs import Jobs, Planner, Runner
from phi_runner.config.plan_mode import Mode
from phi_runner.config.precheck import precheck
from phi_runner.errors import StoreProblem


def launch(line: CommandLine, *, runner: Callable[[], Runner], planner: Callable[[], Planner] | None = None) -> int:
    """Check the command line, do what it says and return the exit code; raises PhiRunnerError.

    `planner` answers `plan=true` without what only a run needs; left out, the runner does.
    """
    hydra.register()
    checked = precheck(line) if line.ours else None
    if checked is None or not line.runs:
        with endings.raising():
            hydra.start(line.arguments(), Jobs(runner=runner).run)
        return 0
    for warning in checked.warnings:
        endings.say(f"warning: {warning}")
    if checked.asked:
        return (planner or runner)().plan(checked.asked, machines=checked.plan is Mode.machines, trials=checked.trials)
    if checked.sweeping:
        from phi_runner.config import multirun

        return multirun.run(line, sweeping=checked.sweeping, folder=checked.folder, runner=runner)
    typed = None
    if checked.sweep_job:
        typed, line = line.arguments(), checked.sweep_job.translated(line)
    is_fixed = any(text.startswith("hydra.run.dir=") for text in line.overrides)
    more = [] if is_fixed else [f"hydra.run.dir={hydra.quoted(str(claim(checked.folder)))}"]
    with endings.raising(), endings.without_hydras_line():
        hydra.start([*line.arguments(), *more], Jobs(runner=runner, typed=typed).run)
    return 0


def claim(folder: Path) -> Path:
    """Make a folder that nobody else has; a number is added where another run began in the same second."""
    for number in itertools.count(1):
        mine = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            mine.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as err:
            raise StoreProblem(f"{mine} cannot be made ({os.strerror(err.errno or 0)}): type outputs=FOLDER") from err
        return mine
    raise AssertionError("unreachable")
