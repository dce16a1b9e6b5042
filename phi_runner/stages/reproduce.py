"""Stage `reproduce`: an earlier run again from nothing, stage by stage compared with what it left."""

from phi_runner.config.schema import RunConfig, StageName
from phi_runner.stages.stage import Inputs, RunDir, Stage


def run(config: RunConfig, _inputs: Inputs, rundir: RunDir) -> None:
    """Repeat the run that `run` names; raises NotReproduced when anything that decides came out differently."""
    from phi_runner.stages.repeating import repeat

    repeat(config, rundir=rundir)


STAGE = Stage(
    name=StageName.reproduce,
    about="run an earlier run again from nothing and say whether it comes out the same, or where and why not",
    run=run,
    produces=None,
    pure=False,
)
