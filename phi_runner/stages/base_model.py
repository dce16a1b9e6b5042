"""The model that an endpoint's model was trained from: found through its lineage, and served beside it."""

from dataclasses import replace
from pathlib import Path

from phi_runner import artifacts
from phi_runner.artifacts import Endpoint, Registered, TrainedModel
from phi_runner.config.schema import LocalDeploy, RunConfig, StageName
from phi_runner.errors import ConfigProblem
from phi_runner.processes import Running
from phi_runner.stages import deploy
from phi_runner.stages.stage import Inputs, RunDir
from phi_runner.store import Store
from phi_runner.template import template_hash

_WITHOUT = "type chat.compare=false to chat without it"


def registered_of(inputs: Inputs, *, outputs: Path) -> Registered | None:
    """Return the registered model that the endpoint was made from, None where the store no longer has it."""
    found = _made(StageName.register, inputs, outputs=outputs)
    return artifacts.read(Registered, folder=found) if found else None


def trained_of(inputs: Inputs, *, outputs: Path) -> TrainedModel | None:
    """Return the training that it came from, None where the store no longer has it."""
    found = _made(StageName.train, inputs, outputs=outputs)
    return artifacts.read(TrainedModel, folder=found) if found else None


def _made(name: StageName, inputs: Inputs, *, outputs: Path) -> Path | None:
    key = inputs.keys.get(name)
    return Store(outputs / "store").folder(name, key) if key else None


def serve(config: RunConfig, endpoint: Endpoint, inputs: Inputs, rundir: RunDir) -> tuple[Endpoint, Running]:
    """Start an endpoint with the base model on this machine, for as long as this run; raises ConfigProblem."""
    from phi_runner.deploy import local

    registered = registered_of(inputs, outputs=rundir.outputs)
    trained = trained_of(inputs, outputs=rundir.outputs)
    if registered is None or trained is None:
        raise ConfigProblem(
            f"chat.compare=true: this outputs folder does not hold the training of {endpoint.model}: {_WITHOUT}"
        )
    folder = folder_of(trained)
    base = replace(registered, name=f"{registered.name}-base", source=str(folder), template_hash=template_hash(folder))
    wish = deploy.wanted(settings_of(config, endpoint), config, base, outputs=rundir.outputs)
    rundir.events.info(f"starts {base.name}/{base.version} from {trained.base} beside {endpoint.model}")
    running = local.bring_up(wish, events=rundir.events).running
    beside = replace(
        endpoint, name=running.name, url=running.url, key_file=str(wish.key_file), pid=running.pid,
        model=wish.label, template_hash=wish.template_hash, resource="", deployment="", chat_form=True,
    )  # fmt: skip
    return beside, running


def settings_of(config: RunConfig, endpoint: Endpoint) -> LocalDeploy:
    """Return the tuned endpoint's own settings; the base model has answered no prompts that it could be held to."""
    if not isinstance(config.deploy, LocalDeploy):
        raise ConfigProblem(f"chat.compare=true serves the base model here: type deploy=local, or {_WITHOUT}")
    return replace(
        config.deploy,
        name=f"{endpoint.name}-base",
        host="127.0.0.1",
        port=0,
        detach=False,
        quality_prompts=0,
        rollback=False,
    )


def folder_of(trained: TrainedModel) -> Path:
    """Return the base model's files; those of a hub's model are where training has put them. Raises ConfigProblem."""
    place = Path(trained.base_location)
    if place.is_dir():
        return place.resolve()
    if not trained.base:
        raise ConfigProblem(f"chat.compare=true: training does not say what it started from: {_WITHOUT}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(trained.base, revision=trained.revision or None))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as err:
        raise ConfigProblem(
            f"chat.compare=true: {trained.base} cannot be had: {' '.join(str(err).split())[:200]}; {_WITHOUT}"
        ) from err
