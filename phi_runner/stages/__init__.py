"""The stages, in the order in which data flows through them: the one visible list of what a run can do."""

from phi_runner.config.schema import RunConfig
from phi_runner.stages import (
    chat,
    compare,
    data,
    deploy,
    evaluate,
    flow,
    infra,
    register,
    reproduce,
    sweep,
    teardown,
    train,
)
from phi_runner.stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    infra.STAGE,
    data.STAGE,
    train.STAGE,
    evaluate.STAGE,
    register.STAGE,
    deploy.STAGE,
    flow.STAGE,
    chat.STAGE,
    teardown.STAGE,
    compare.STAGE,
    reproduce.STAGE,
)


def row(config: RunConfig) -> tuple[Stage, ...]:
    """Return the stages in order; a sweep job takes the place of training where there is a grid."""
    return tuple(sweep.STAGE if config.sweep.grid and stage is train.STAGE else stage for stage in STAGES)
