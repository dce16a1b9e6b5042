"""Stage `chat`: talk to the endpoint in the terminal, or on the flow's page until Ctrl-C."""

import os
import sys
import threading
from pathlib import Path
from typing import assert_never

from phi_runner import processes
from phi_runner.artifacts import Endpoint, Flow
from phi_runner.config.schema import ChatUi, PromptFlow, RunConfig, StageName
from phi_runner.errors import ConfigProblem, DeployFailed, FlowFailed
from phi_runner.flow import terminal
from phi_runner.flow.dialogue import Dialogue
from phi_runner.processes import Running
from phi_runner.stages import endpoints, flow
from phi_runner.stages.stage import Inputs, RunDir, Stage

_LOOK_EVERY_S = 0.5


def _reads(config: RunConfig) -> tuple[StageName, ...]:
    if config.chat.ui is ChatUi.page and isinstance(config.flow, PromptFlow):
        return (StageName.deploy, StageName.flow)
    return (StageName.deploy,)


def _talk(config: RunConfig, endpoint: Endpoint, rundir: RunDir) -> None:
    key = endpoints.endpoint_key(config, endpoint, outputs=rundir.outputs, events=rundir.events)
    rundir.events.info(f"talking to {endpoint.model} at {endpoint.url}; {terminal.HOW_TO}")
    with Dialogue(endpoint, key=key, config=config.chat) as dialogue:
        asked = terminal.talk(dialogue)
    rundir.events.info(f"the chat ended after {asked} question{'' if asked == 1 else 's'}", questions=asked)


def _has_display() -> bool:
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _wait(page: Running, *, endpoint: Endpoint, outputs: Path) -> None:
    """Wait for Ctrl-C; raises when the page or the endpoint ends before it."""
    pause = threading.Event()
    try:
        while not pause.wait(_LOOK_EVERY_S):
            there = {(item.kind, item.pid) for item in processes.listed(outputs=outputs)}
            if ("flow", page.pid) not in there:
                raise FlowFailed(f"the flow's page at {page.url} has ended; see {page.log}")
            if not endpoint.resource and ("endpoint", endpoint.pid) not in there:
                raise DeployFailed(f"the endpoint at {endpoint.url} has ended: start it again with +recipe=chat")
    except KeyboardInterrupt:
        return


def _show_page(config: RunConfig, settings: PromptFlow, inputs: Inputs, rundir: RunDir) -> None:
    endpoint, made = inputs.get(StageName.deploy, Endpoint), inputs.get(StageName.flow, Flow)
    before = processes.find("flow", settings.name, outputs=rundir.outputs)
    page = before if before and before.pid == made.pid else None
    page = page or flow.serve(
        settings, folder=Path(made.flow_folder), connection=flow.connection_of(config, settings, endpoint, rundir),
        detach=endpoint.detached, rundir=rundir,
    )  # fmt: skip
    rundir.events.info(f"chat at {page.url}; Ctrl-C ends", url=page.url)
    if _has_display():
        import webbrowser

        webbrowser.open(page.url)
    try:
        _wait(page, endpoint=endpoint, outputs=rundir.outputs)
    finally:
        if not before:  # a page that was there before the chat stays after it
            processes.stop_recorded(page, outputs=rundir.outputs)


def _run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> None:
    match config.chat.ui:
        case ChatUi.terminal:
            _talk(config, inputs.get(StageName.deploy, Endpoint), rundir)
        case ChatUi.page if isinstance(config.flow, PromptFlow):
            _show_page(config, config.flow, inputs, rundir)
        case ChatUi.page:
            raise ConfigProblem("chat.ui=page needs a flow and flow=none: add flow=promptflow, or chat.ui=terminal")
        case unknown:
            assert_never(unknown)


STAGE = Stage(
    name=StageName.chat,
    about="talk to the model in the terminal, or on the flow's page with chat.ui=page",
    run=_run,
    produces=None,
    reads=_reads,
    pure=False,
    interactive=True,
)
