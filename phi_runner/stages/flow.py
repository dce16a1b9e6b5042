"""Stage `flow`: put the chat flow in front of the endpoint, ask it once, and serve it when asked to."""

import json
import sys
from pathlib import Path
from typing import Any

from phi_runner import processes
from phi_runner.artifacts import Artifact, Dataset, Endpoint, Flow
from phi_runner.config import clouds
from phi_runner.config.schema import (
    AgentFlow,
    AzureDeploy,
    ChatFlow,
    FoundryFlow,
    NoFlow,
    PlainFlow,
    PromptFlow,
    RunConfig,
    StageName,
)
from phi_runner.errors import ConfigProblem
from phi_runner.flow import page, render
from phi_runner.flow.back_end import BackEnd
from phi_runner.flow.connection import Connection
from phi_runner.flow.spec import FlowSpec, spec_of
from phi_runner.processes import Running
from phi_runner.stages import endpoints, flow_batch, flow_project
from phi_runner.stages.stage import Inputs, RunDir, Stage

_ENDPOINT_FILE = "endpoint.json"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _batch_rows(config: RunConfig) -> int:
    return config.flow.batch_rows if isinstance(config.flow, PromptFlow) else 0


def _reads(config: RunConfig) -> tuple[StageName, ...]:
    return (StageName.data, StageName.deploy) if _batch_rows(config) else (StageName.deploy,)


def _skip(config: RunConfig) -> str:
    return "flow=none" if isinstance(config.flow, NoFlow) else ""


def _warm_up(config: RunConfig) -> None:
    if isinstance(config.flow, PromptFlow):
        from phi_runner.flow.promptflow import process

        process.warm_up(Path(config.outputs).expanduser().resolve())  # as the runner resolves it


def connection_of(config: RunConfig, settings: ChatFlow, endpoint: Endpoint, rundir: RunDir) -> Connection:
    """Return the flow's way to the endpoint, its key in memory; a Foundry flow's is what its project holds."""
    key = endpoints.endpoint_key(config, endpoint, outputs=rundir.outputs, events=rundir.events)
    match settings:
        case FoundryFlow():
            return flow_project.connect(config, settings, endpoint, rundir, key=key)
        case _:
            file = None if endpoint.resource else endpoints.key_file_of(endpoint)
            return Connection(name=settings.connection, endpoint=endpoint.score_url, key=key, key_file=file)


def back_end_of(settings: ChatFlow, *, spec: FlowSpec, connection: Connection, rundir: RunDir) -> BackEnd:
    """Return what runs the flow; an agent's environment is made when it is not there yet."""
    from phi_runner.flow.script import ScriptBackEnd

    match settings:
        case PromptFlow():
            from phi_runner.flow.promptflow.back_end import PromptFlowBackEnd

            return PromptFlowBackEnd(connection=connection, outputs=rundir.outputs)
        case PlainFlow():
            return ScriptBackEnd(python=sys.executable, spec=spec, connection=connection, outputs=rundir.outputs)
        case AgentFlow():
            from phi_runner.flow import agents

            python = agents.interpreter(settings, outputs=rundir.outputs, events=rundir.events)
            return ScriptBackEnd(python=python, spec=spec, connection=connection, outputs=rundir.outputs)
        case unknown:
            raise ConfigProblem(f"no back end runs a flow of kind {unknown.kind!r}: type flow=plain")


def serve(settings: ChatFlow, *, folder: Path, back_end: BackEnd, detach: bool, rundir: RunDir) -> Running:
    """Start the flow's server; it lives as long as the endpoint is meant to."""
    if settings.host not in _LOOPBACK:
        rundir.events.warn(f"flow.host={settings.host}: whoever reaches this address can use the model without a key")
    running = page.serve(
        back_end.server(folder), name=settings.name, host=settings.host, port=settings.port, outputs=rundir.outputs,
        detach=detach,
    )  # fmt: skip
    shown = f"the flow's page is {running.url}, its API" if isinstance(settings, PromptFlow) else "the flow's API is"
    until = "" if detach else ", until this run ends (deploy=local_detached keeps it)"
    rundir.events.info(f"{shown} {running.url}/score{until}", url=running.url)
    return running


def _check(settings: ChatFlow) -> None:
    if not settings.question.strip():
        raise ConfigProblem("flow.question is empty: say what the flow is asked when it is tested")


def _render(spec: FlowSpec, rundir: RunDir) -> Path:
    folder = rundir.outputs / "flows" / spec.name
    for name in render.render(spec, folder=folder):
        rundir.events.warn(f"{folder / name} had been edited: kept as {name}.edited, and written again")
    return folder


def _ask(back_end: BackEnd, folder: Path, question: str, rundir: RunDir) -> str:
    answer = back_end.ask(folder, question)
    rundir.events.info(
        f"{question} -> {' '.join(answer.text.split())}", question=question, answer=answer.text,
        import_s=answer.import_s, call_s=answer.call_s,
    )  # fmt: skip
    if not answer.text.strip():
        rundir.events.warn(f"the flow answered {question!r} with nothing: see evaluate's answers")
    return answer.text


def _write_down(endpoint: Endpoint, rundir: RunDir) -> None:
    """Keep which endpoint was asked, for the next run that would reuse the answer."""
    names = ("name", "url", "pid", "resource", "deployment", "chat_form", "model")
    asked = {name: getattr(endpoint, name) for name in names}
    (rundir.folder / _ENDPOINT_FILE).write_text(json.dumps(asked) + "\n", encoding="utf-8")


def _make(config: RunConfig, settings: ChatFlow, inputs: Inputs, rundir: RunDir) -> Flow:
    _check(settings)
    endpoint = inputs.get(StageName.deploy, Endpoint)
    connection = connection_of(config, settings, endpoint, rundir)
    spec = spec_of(settings, chat=config.chat, endpoint=endpoint)
    back_end = back_end_of(settings, spec=spec, connection=connection, rundir=rundir)
    folder = _render(spec, rundir)
    answer = _ask(back_end, folder, settings.question, rundir)
    _write_down(endpoint, rundir)
    if isinstance(settings, PromptFlow) and settings.batch_rows:
        dataset = inputs.get(StageName.data, Dataset)
        flow_batch.run(config, settings, dataset, endpoint, rundir, folder=folder, connection=connection)
    if isinstance(settings, FoundryFlow):
        flow_project.upload(config, settings, folder, rundir)
    running = None
    if settings.serve:
        running = serve(settings, folder=folder, back_end=back_end, detach=endpoint.detached, rundir=rundir)
    return Flow(
        folder=rundir.folder, flow_folder=str(folder), question=settings.question, answer=answer,
        url=running.url if running else "", pid=running.pid if running else 0,
    )  # fmt: skip


def _run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Flow:
    match config.flow:
        case ChatFlow() as settings:
            return _make(config, settings, inputs, rundir)
        case unknown:
            raise ConfigProblem(f"stage flow cannot make a flow of kind {unknown.kind!r}: use flow=promptflow")


def _serves(artifact: Flow, outputs: Path) -> bool:
    """Say whether the flow's page still runs and will for as long as this run."""
    pages = [item for item in processes.listed(outputs=outputs) if item.kind == page.KIND]
    return any(
        (item.pid, item.url) == (artifact.pid, artifact.url) and (item.detached or processes.is_ours(item.pid))
        for item in pages
    )


def _is_there(config: RunConfig, asked: Endpoint, outputs: Path) -> bool:
    """Say whether the endpoint that the flow asked still serves."""
    if asked.resource:
        return endpoints.has_traffic(config, resource=asked.resource, deployment=asked.deployment, outputs=outputs)
    running = [(item.pid, item.url) for item in processes.listed(outputs=outputs) if item.kind == "endpoint"]
    return (asked.pid, asked.url) in running


def _in_azure(config: RunConfig) -> bool:
    return isinstance(config.deploy, AzureDeploy) or isinstance(config.flow, FoundryFlow)


def _asked(artifact: Flow) -> Endpoint | None:
    """Return what is written down of the endpoint that a stored flow asked."""
    try:
        values: dict[str, Any] = json.loads((artifact.folder / _ENDPOINT_FILE).read_text(encoding="utf-8"))
        return Endpoint(folder=artifact.folder, key_file="", template_hash="", detached=False, **values)
    except (OSError, ValueError, TypeError):
        return None


def _still_true(config: RunConfig, artifact: Artifact, outputs: Path) -> str:
    """Say why a stored flow must be asked again: another endpoint, an edited folder, a page that is gone."""
    if not isinstance(artifact, Flow) or not isinstance(config.flow, ChatFlow):
        return "it is no chat flow"
    asked = _asked(artifact)
    if asked is None:
        return "it does not say which endpoint it asked"
    if not _is_there(config, asked, outputs):
        return "the endpoint that it asked is gone"
    spec = spec_of(config.flow, chat=config.chat, endpoint=asked)
    if not render.is_current(spec, folder=Path(artifact.flow_folder)):
        return "the flow folder has changed"
    if isinstance(config.flow, FoundryFlow):
        differs = flow_project.difference(config, config.flow, asked, outputs)
        if differs:
            return differs
    if config.flow.serve and not _serves(artifact, outputs):
        return "the flow's page is gone"
    return ""


STAGE = Stage(
    name=StageName.flow,
    about="render the chat flow, ask it once through the endpoint, serve it with flow.serve=true",
    run=_run,
    produces=Flow,
    reads=_reads,
    place=lambda config: clouds.workspace_of(config) if _in_azure(config) else "",
    config_parts=("flow", "chat"),
    code=("azureml/foundry.py", "stages/flow.py", "stages/flow_batch.py", "stages/flow_project.py", "flow"),
    libraries=("promptflow",),
    pure=False,
    still_true=_still_true,
    skip=_skip,
    warm_up=_warm_up,
)
