"""Stage `chat`: talk to the endpoint on a page in the browser until Ctrl-C, or in the terminal."""

from typing import assert_never

from phi_runner.artifacts import Endpoint
from phi_runner.config.schema import ChatUi, RunConfig, StageName
from phi_runner.stages.stage import Inputs, RunDir, Stage


def _run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> None:
    from phi_runner.stages import talking

    endpoint = inputs.get(StageName.deploy, Endpoint)
    match config.chat.ui:
        case ChatUi.terminal:
            talking.in_terminal(config, endpoint, rundir=rundir)
        case ChatUi.page:
            talking.on_page(config, endpoint, inputs=inputs, rundir=rundir)
        case unknown:
            assert_never(unknown)


STAGE = Stage(
    name=StageName.chat,
    about="talk to the model on a page in the browser, or in the terminal with chat.ui=terminal",
    run=_run,
    produces=None,
    reads=lambda _config: (StageName.deploy,),
    pure=False,
    interactive=True,
)
