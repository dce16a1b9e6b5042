"""The stages, in the order in which data flows through them: the one visible list of what a run can do."""

from phi_runner.stages import chat, data, deploy, evaluate, flow, infra, register, teardown, train
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
)
