"""`python -m phi_runner`: say what to type, or check the command line and let Hydra run the stages."""

import sys
from typing import TYPE_CHECKING

from phi_runner.config import endings, flags

if TYPE_CHECKING:
    from phi_runner.config.launch import Runner


def _stages() -> list[tuple[str, str]]:
    from phi_runner.stages import STAGES

    return [(stage.name, stage.about) for stage in STAGES]


def _runner() -> "Runner":
    from phi_runner import runner

    return runner


def run() -> None:
    """Do what the command line says and end the process with its exit code."""
    with endings.told():
        line = flags.read(sys.argv[1:])
        if line.asks:
            from phi_runner.config import help

            raise SystemExit(help.answer(line, stages=_stages))
        from phi_runner.config.launch import launch

        raise SystemExit(launch(line, runner=_runner))


if __name__ == "__main__":
    run()
