"""`python -m phi_runner.worker ...`: what each of the processes does that perform one stage together.

It runs the very function that a stage runs here, in the stage's own folder. The first process tells, records and
writes; the others only compute.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from phi_runner import artifacts, environment, processes, task
from phi_runner.artifacts import Artifact, Dataset, TrainedModel
from phi_runner.compute import told as lines
from phi_runner.config.schema import StageName
from phi_runner.errors import ConfigProblem, PhiRunnerError, Stopped
from phi_runner.events import Events, StageEvents
from phi_runner.rank import Rank
from phi_runner.stages.stage import Inputs, RunDir
from phi_runner.task import Task

_PROGRESS_S = 0.1
_STARTED_AGAIN = "TORCHELASTIC_RESTART_COUNT"
_MOST_RESTARTS = "TORCHELASTIC_MAX_RESTARTS"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m phi_runner.worker", description=__doc__)
    for name in ("task", "told", "folder", "outputs"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    return parser.parse_args(argv)


def _inputs(order: Task) -> Inputs:
    """Return the results that the stage reads, where they lie in the store."""
    kinds: dict[StageName, type[Artifact]] = {StageName.data: Dataset, StageName.train: TrainedModel}
    found: dict[StageName, Artifact] = {}
    for name, values in order.inputs.items():
        found[name] = kinds[name](**values | {"folder": Path(values["folder"])})
    return Inputs(found, {})


def _perform(order: Task, rundir: RunDir) -> Artifact:
    environment.prepare(order.config)
    inputs = _inputs(order)
    match order.stage:
        case StageName.train:
            from phi_runner.stages import train

            return train.here(order.config, inputs, rundir)
        case StageName.evaluate:
            from phi_runner.stages import evaluate

            return evaluate.here(order.config, inputs, rundir)
        case unknown:
            raise ConfigProblem(f"the stage {unknown} is not performed by several processes")


def _events(rank: Rank, *, told: Path, stage: StageName) -> StageEvents:
    events = Events()
    if rank.first:
        events.listen(task.teller(lines.writer(told), every_s=_PROGRESS_S))
    again = int(os.environ.get(_STARTED_AGAIN, "0"))
    if again:
        StageEvents(events, stage).warn(
            f"a process was lost: all start again from the last checkpoint ({again} of "
            f"{os.environ.get(_MOST_RESTARTS, again)} times)", restarts=again,
        )  # fmt: skip
    return StageEvents(events, stage)


def main(argv: Sequence[str]) -> int:
    """Perform one stage with the other processes and return the exit code."""
    given = _arguments(argv)
    processes.die_with_parent()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if lines.failed(given.told):
        return PhiRunnerError.exit_code
    order, rank = task.read(given.task), Rank.here()
    events = _events(rank, told=given.told, stage=order.stage)
    rundir = RunDir(folder=given.folder, outputs=given.outputs, key=order.key, events=events)
    with processes.ending_on_sigterm():
        try:
            artifact = _perform(order, rundir)
            if rank.first:
                artifacts.save(artifact)
        except PhiRunnerError as err:
            lines.writer(given.told)(task.failure_line(str(err), error=type(err).__name__) + "\n")
            return err.exit_code
        except Stopped as err:  # the step is saved
            events.info(str(err))
            return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
