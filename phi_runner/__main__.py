"""`python -m phi_runner`: say what to type, or check the command line and let Hydra run the stages."""

import gc
import sys
from typing import TYPE_CHECKING

from phi_runner.config import endings, flags

if TYPE_CHECKING:
    from phi_runner.config.jobs import Planner, Runner


def _stages() -> list[tuple[str, str]]:
    from phi_runner.stages import STAGES

    return [(stage.name, stage.about) for stage in STAGES]


def _runner() -> "Runner":
    gc.enable()
    from phi_runner import runner

    return runner


def _planner() -> "Planner":
    from phi_runner.plan import answer

    return answer


def run() -> None:
    """Do what the command line says and end the process with its exit code."""
    gc.disable()  # until a run begins: modules and configs all stay, and looking at them took a tenth of the time
    with endings.told():
        line = flags.read(sys.argv[1:])
        if line.asks:
            from phi_runner.config import help

            raise SystemExit(help.answer(line, stages=_stages))
        if line.completes:
            from phi_runner.config import completion

            raise SystemExit(completion.answer(line.overrides))
        from phi_runner.config.launch import launch

        raise SystemExit(launch(line, runner=_runner, planner=_planner))


if __name__ == "__main__":
    run()
