"""Talk to an endpoint on a page in the browser until Ctrl-C, or in the terminal; imported when somebody talks."""

import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from phi_runner import processes
from phi_runner.artifacts import Endpoint
from phi_runner.chat import feedback, model_folder
from phi_runner.chat.asking import Side
from phi_runner.chat.page import server
from phi_runner.chat.page.settings import Settings
from phi_runner.chat.wire import LOOPBACK
from phi_runner.config.schema import LocalDeploy, RunConfig
from phi_runner.errors import DeployFailed
from phi_runner.processes import Running
from phi_runner.stages import base_model, endpoints
from phi_runner.stages.stage import Inputs, RunDir

_LOOK_EVERY_S = 0.5


def _feedback_file(config: RunConfig, endpoint: Endpoint, *, outputs: Path) -> Path:
    chosen = config.chat.feedback_file
    return Path(chosen).expanduser().resolve() if chosen else feedback.default_file(endpoint.name, outputs=outputs)


def in_terminal(config: RunConfig, endpoint: Endpoint, *, rundir: RunDir) -> None:
    """Ask and answer until the person ends it."""
    from phi_runner.chat import terminal
    from phi_runner.chat.dialogue import Dialogue

    key = endpoints.endpoint_key(config, endpoint, outputs=rundir.outputs, events=rundir.events)
    rundir.events.info(f"talking to {endpoint.model} at {endpoint.url}; {terminal.HOW_TO}")
    with Dialogue(endpoint, key=key, config=config.chat) as dialogue:
        asked = terminal.talk(dialogue, votes=_feedback_file(config, endpoint, outputs=rundir.outputs))
    rundir.events.info(f"the chat ended after {asked} question{'' if asked == 1 else 's'}", questions=asked)


def _has_display() -> bool:
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _engine(config: RunConfig, endpoint: Endpoint) -> str:
    """Return what answers at the endpoint, as far as this run knows."""
    if endpoint.resource:
        return "azure"
    if not isinstance(config.deploy, LocalDeploy):
        return ""
    return config.deploy.engine if config.deploy.engine != "onnx" else f"onnx {config.deploy.precision}"


def _side(config: RunConfig, endpoint: Endpoint, folder: Path | None, rundir: RunDir, keys: dict[str, str]) -> Side:
    """Return the page's way to an endpoint; a key that lies in no file joins `keys`."""
    key = endpoints.endpoint_key(config, endpoint, outputs=rundir.outputs, events=rundir.events)
    variable = server.key_variable() if endpoint.resource else ""
    if variable:
        keys[variable] = key
    return Side(
        url=endpoint.url, label=endpoint.model, engine=_engine(config, endpoint), template_hash=endpoint.template_hash,
        key_file="" if variable else str(endpoints.key_file_of(endpoint)), key_variable=variable,
        scored=bool(endpoint.resource), chat_form=endpoint.chat_form,
        system=endpoint.chat_form and (folder is None or model_folder.takes_system(folder)),
    )  # fmt: skip


def on_page(config: RunConfig, endpoint: Endpoint, *, inputs: Inputs, rundir: RunDir) -> None:
    """Show the page until Ctrl-C; raises DeployFailed when it ends by itself."""
    registered = base_model.registered_of(inputs, outputs=rundir.outputs)
    folder = registered.model_folder if registered and registered.source else None
    file, keys = _feedback_file(config, endpoint, outputs=rundir.outputs), dict[str, str]()
    with ExitStack() as ends:
        sides = [_side(config, endpoint, folder, rundir, keys)]
        if config.chat.compare:
            beside, running = base_model.serve(config, endpoint, inputs, rundir)
            ends.callback(processes.stop_recorded, running, outputs=rundir.outputs)
            sides.append(_side(config, beside, folder, rundir, keys))
        settings = Settings(
            sides=sides, host=config.chat.host, port=config.chat.port, feedback_file=str(file),
            temperature=config.chat.temperature, max_new_tokens=config.chat.max_new_tokens,
            longest_answer=model_folder.context(folder or Path()),
        )  # fmt: skip
        page = server.start(settings, name=endpoint.name, outputs=rundir.outputs, keys=keys)
        ends.callback(processes.stop_recorded, page, outputs=rundir.outputs)
        _tell(config, page, file=file, rundir=rundir)
        _wait(page, endpoint=endpoint, rundir=rundir)


def _tell(config: RunConfig, page: Running, *, file: Path, rundir: RunDir) -> None:
    if config.chat.host not in LOOPBACK:
        rundir.events.warn(
            f"chat.host={config.chat.host}: whoever reaches this address can use the model without a key"
        )
    rundir.events.info(f"votes on answers are kept in {file}")
    rundir.events.info(f"chat at {page.url}; Ctrl-C ends", url=page.url)
    if config.chat.open_browser and _has_display():
        import webbrowser

        webbrowser.open(page.url)


def _wait(page: Running, *, endpoint: Endpoint, rundir: RunDir) -> None:
    """Wait for Ctrl-C; an endpoint that ends is told once: the page still has its dialogues. Raises DeployFailed."""
    pause, told = threading.Event(), bool(endpoint.resource)
    try:
        while not pause.wait(_LOOK_EVERY_S):
            if not page.alive():
                raise DeployFailed(f"the chat page at {page.url} has ended; see {page.log}")
            if not told and processes.find("endpoint", endpoint.name, outputs=rundir.outputs) is None:
                told = True
                rundir.events.warn(f"the endpoint at {endpoint.url} has ended: Ctrl-C, and start it with +recipe=chat")
    except KeyboardInterrupt:
        return
