"""Stage `flow`: put the chat flow in front of the endpoint, ask it once, and serve its page when asked to."""

import json
from pathlib import Path
from typing import Any

from phi_runner import processes
from phi_runner.artifacts import Artifact, Endpoint, Flow
from phi_runner.config import clouds
from phi_runner.config.schema import AzureDeploy, FoundryFlow, NoFlow, PromptFlow, RunConfig, StageName
from phi_runner.errors import ConfigProblem
from phi_runner.events import Events, StageEvents
from phi_runner.flow import page, pf, render, trial
from phi_runner.ledger import Ledger
from phi_runner.processes import Running
from phi_runner.stages import endpoints
from phi_runner.stages.stage import Inputs, RunDir, Stage

_ENDPOINT_FILE = "endpoint.json"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _reads(_config: RunConfig) -> tuple[StageName, ...]:
    return (StageName.deploy,)


def _skip(config: RunConfig) -> str:
    return "flow=none" if isinstance(config.flow, NoFlow) else ""


def _warm_up(config: RunConfig) -> None:
    trial.warm_up(Path(config.outputs).expanduser().resolve())  # as the runner resolves it


def connection_of(config: RunConfig, settings: PromptFlow, endpoint: Endpoint, rundir: RunDir) -> pf.Connection:
    """Return the flow's way to the endpoint, its key in memory; a Foundry flow's is what its project holds."""
    key = endpoints.endpoint_key(config, endpoint, outputs=rundir.outputs, events=rundir.events)
    match settings:
        case FoundryFlow():
            return _through_project(config, settings, endpoint, rundir, key=key)
        case _:
            file = None if endpoint.resource else endpoints.key_file_of(endpoint)
            return pf.Connection(name=settings.connection, endpoint=endpoint.score_url, key=key, key_file=file)


def _through_project(
    config: RunConfig, settings: FoundryFlow, endpoint: Endpoint, rundir: RunDir, *, key: str
) -> pf.Connection:
    from phi_runner.azureml.client import connect
    from phi_runner.azureml.foundry import Foundry, Keys

    foundry = Foundry(azure=connect(config.azure), ledger=Ledger(rundir.outputs), events=rundir.events)
    foundry.converge(settings)
    held = foundry.connect(settings.connection, Keys(endpoint=endpoint.score_url, key=key))
    return pf.Connection(name=settings.connection, endpoint=held.endpoint, key=held.key)


def _upload(config: RunConfig, settings: FoundryFlow, folder: Path, rundir: RunDir) -> None:
    from phi_runner.azureml.client import connect
    from phi_runner.azureml.foundry import Foundry

    foundry = Foundry(azure=connect(config.azure), ledger=Ledger(rundir.outputs), events=rundir.events)
    version = foundry.upload(folder, name=settings.name)
    rundir.events.info(
        f"the flow is data asset {settings.name}:{version} of project {config.azure.project}; to open it in the portal "
        f"choose Prompt flow > Create > Upload from local there, and {folder}"
    )


def serve(settings: PromptFlow, *, folder: Path, connection: pf.Connection, detach: bool, rundir: RunDir) -> Running:
    """Start the flow's page; it lives as long as the endpoint is meant to."""
    if settings.host not in _LOOPBACK:
        rundir.events.warn(f"flow.host={settings.host}: whoever reaches this address can use the model without a key")
    running = page.serve(
        folder, name=settings.name, connection=connection, host=settings.host,
        port=settings.port, outputs=rundir.outputs, detach=detach,
    )  # fmt: skip
    rundir.events.info(f"the flow's page is {running.url}, its API {running.url}/score", url=running.url)
    return running


def _check(settings: PromptFlow) -> None:
    if not settings.question.strip():
        raise ConfigProblem("flow.question is empty: say what the flow is asked when it is tested")


def _render(config: RunConfig, settings: PromptFlow, rundir: RunDir, *, chat_form: bool) -> Path:
    folder = rundir.outputs / "flows" / settings.name
    for name in render.render(settings, chat=config.chat, folder=folder, chat_form=chat_form):
        rundir.events.warn(f"{folder / name} had been edited: kept as {name}.edited, and written again")
    return folder


def _make(config: RunConfig, settings: PromptFlow, endpoint: Endpoint, rundir: RunDir) -> Flow:
    _check(settings)
    connection = connection_of(config, settings, endpoint, rundir)
    folder = _render(config, settings, rundir, chat_form=endpoint.chat_form)
    answer = trial.ask(folder, connection=connection, question=settings.question, outputs=rundir.outputs)
    rundir.events.info(
        f"{settings.question} -> {' '.join(answer.text.split())}", question=settings.question, answer=answer.text,
        import_s=answer.import_s, call_s=answer.call_s,
    )  # fmt: skip
    if not answer.text.strip():
        rundir.events.warn(f"the flow answered {settings.question!r} with nothing: see evaluate's answers")
    asked = {
        "url": endpoint.url, "pid": endpoint.pid, "resource": endpoint.resource, "deployment": endpoint.deployment,
        "chat_form": endpoint.chat_form,
    }  # fmt: skip
    (rundir.folder / _ENDPOINT_FILE).write_text(json.dumps(asked) + "\n", encoding="utf-8")
    if isinstance(settings, FoundryFlow):
        _upload(config, settings, folder, rundir)
    running = None
    if settings.serve:
        running = serve(settings, folder=folder, connection=connection, detach=endpoint.detached, rundir=rundir)
    return Flow(
        folder=rundir.folder, flow_folder=str(folder), question=settings.question, answer=answer.text,
        url=running.url if running else "", pid=running.pid if running else 0,
    )  # fmt: skip


def _run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Flow:
    match config.flow:
        case PromptFlow() as settings:
            return _make(config, settings, inputs.get(StageName.deploy, Endpoint), rundir)
        case unknown:
            raise ConfigProblem(f"stage flow cannot make a flow of kind {unknown.kind!r}: use flow=promptflow")


def _serves(artifact: Flow, outputs: Path) -> bool:
    """Say whether the flow's page still runs and will for as long as this run."""
    pages = [item for item in processes.listed(outputs=outputs) if item.kind == page.KIND]
    return any(
        (item.pid, item.url) == (artifact.pid, artifact.url) and (item.detached or processes.is_ours(item.pid))
        for item in pages
    )


def _is_there(config: RunConfig, asked: dict[str, Any], outputs: Path) -> bool:
    """Say whether the endpoint that the flow asked still serves."""
    if asked.get("resource"):
        return endpoints.has_traffic(
            config, resource=asked["resource"], deployment=asked["deployment"], outputs=outputs
        )
    running = [(item.pid, item.url) for item in processes.listed(outputs=outputs) if item.kind == "endpoint"]
    return (asked["pid"], asked["url"]) in running


def _connection_differs(config: RunConfig, settings: FoundryFlow, asked: dict[str, Any], outputs: Path) -> str:
    """Say what is wrong with the project's connection, or nothing: an endpoint that was made again has another key."""
    from phi_runner.azureml.client import connect
    from phi_runner.azureml.foundry import Foundry, Keys

    silent = StageEvents(Events(), StageName.flow)
    held = Foundry(azure=connect(config.azure), ledger=Ledger(outputs), events=silent).read(settings.connection)
    if held is None:
        return f"connection {settings.connection} of project {config.azure.project} is gone"
    online = endpoints.online(config, name=asked["resource"].rsplit("/", 1)[-1], outputs=outputs)
    now = Keys(endpoint=f"{asked['url']}/score", key=online.key())
    return "" if held == now else f"connection {settings.connection} does not hold the endpoint's key"


def _in_azure(config: RunConfig) -> bool:
    return isinstance(config.deploy, AzureDeploy) or isinstance(config.flow, FoundryFlow)


def _still_true(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    """Say why a stored flow must be asked again: another endpoint, an edited folder, a page that is gone."""
    if not isinstance(artifact, Flow) or not isinstance(config.flow, PromptFlow):
        return "it is no Prompt flow"
    try:
        asked = json.loads((artifact.folder / _ENDPOINT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it does not say which endpoint it asked"
    if not _is_there(config, asked, outputs):
        return "the endpoint that it asked is gone"
    if not render.is_current(
        config.flow, chat=config.chat, folder=Path(artifact.flow_folder), chat_form=asked.get("chat_form", True)
    ):
        return "the flow folder has changed"
    if isinstance(config.flow, FoundryFlow):
        differs = _connection_differs(config, config.flow, asked, outputs)
        if differs:
            return differs
    if config.flow.serve and not _serves(artifact, outputs):
        return "the flow's page is gone"
    return ""


STAGE = Stage(
    name=StageName.flow,
    about="render the chat flow, ask it once through the endpoint, serve its page with flow.serve=true",
    run=_run,
    produces=Flow,
    reads=_reads,
    place=lambda config: clouds.workspace_of(config) if _in_azure(config) else "",
    config_parts=("flow", "chat"),
    code=(
        "azureml/foundry.py",
        "stages/flow.py",
        "flow/render.py",
        "flow/pf.py",
        "flow/trial.py",
        "flow/page.py",
        "flow/template",
    ),
    libraries=("promptflow",),
    pure=False,
    still_true=_still_true,
    skip=_skip,
    warm_up=_warm_up,
)
