"""Stage `register`: a version in the model registry that plain MLflow can load, with where it came from."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phi_runner import __version__
from phi_runner.artifacts import Artifact, Registered, TrainedModel
from phi_runner.azureml.environment import model_requirements, pins
from phi_runner.config import clouds
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput
from phi_runner.stages.gate import card_tags, keep_card, pass_gate, reads
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.template import template_hash
from phi_runner.tracking import alias_points_to, uri_of

_PROMPT = "{prompt}"
_REQUIRED = ("mlflow", "torch", "transformers", "accelerate")


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Registered:
    """Put the model into the workspace that will serve it, or into the MLflow registry, if its card allows it."""
    pass_gate(config, inputs, rundir=rundir)
    keep_card(config, inputs, rundir=rundir)
    if clouds.registers_in_workspace(config):
        return _in_workspace(config, inputs, rundir)
    return _in_mlflow(config, inputs, rundir)


def _in_mlflow(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Registered:
    """Merge an adapter if there is one, log the model to MLflow, move the alias."""
    from phi_runner import tracking

    trained = inputs.get(StageName.train, TrainedModel)
    if trained.in_cloud:
        raise MissingInput(
            f"the weights were left in the workspace by job {trained.job}: register them there with "
            "azure.fetch_result=false, or fetch them with stages=[train] azure.fetch_result=true"
        )
    model, tokenizer, source = _plain(trained, folder=rundir.folder / "merged", say=rundir.events.info)
    number = tracking.register(
        config.tracking,
        outputs=rundir.outputs,
        run_id=_run_id(config, trained, rundir),
        model=model,
        tokenizer=tokenizer,
        prompt_template=_prompt_template(tokenizer),
        name=config.register.name,
        alias=config.register.alias,
        tags=_tags(config, trained, inputs, key=rundir.key),
        requirements=pins(_REQUIRED),
    )
    rundir.events.info(f"registered {config.register.name} version {number}, alias {config.register.alias}")
    return Registered(
        folder=rundir.folder, name=config.register.name, version=number, alias=config.register.alias,
        tracking_uri=uri_of(config.tracking, outputs=rundir.outputs),
        source=_stored(source, trained, rundir), template_hash=template_hash(source),
    )  # fmt: skip


def _in_workspace(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Registered:
    """Register what the job left in MLflow's form, or write that form here and upload it."""
    from phi_runner.azureml import registry
    from phi_runner.azureml.client import connect

    trained = inputs.get(StageName.train, TrainedModel)
    azure = connect(config.azure)
    tags = _tags(config, trained, inputs, key=rundir.key) | {"phi_runner.alias": config.register.alias}
    source, stored = trained.model_folder, ""
    version = registry.find(azure, name=config.register.name, key=rundir.key)
    if version:
        rundir.events.info(f"{config.register.name} version {version} was registered before from this very result")
    else:
        place = registry.in_job(azure, trained)
        if not place:
            rundir.events.info("writes the model in MLflow's form")
            scratch = rundir.scratch
            said = rundir.events.info
            place = str(mlflow_folder(trained, folder=scratch / "mlflow_model", merged=scratch / "merged", say=said))
        registry.check_serving(trained, place=place)
        version = registry.register(azure, name=config.register.name, place=place, tags=tags)
        rundir.events.info(f"registered {config.register.name} version {version} in {config.azure.workspace}")
    if not trained.in_cloud and not trained.adapter:
        stored = _stored(source, trained, rundir)
    return Registered(
        folder=rundir.folder, name=config.register.name, version=version, alias=config.register.alias,
        tracking_uri="", source=stored, template_hash=trained.template_hash,
        asset=azure.ids.model(config.register.name, version=version),
    )  # fmt: skip


def _plain(trained: TrainedModel, *, folder: Path, say: Callable[[str], None]) -> tuple[Any, Any, Path]:
    """Open a training result as one plain model; an adapter is merged into `folder` first, and the merge is proven.

    MLflow reloads a PEFT object with a local base wrongly and says nothing, so what it gets is one plain model.
    """
    from phi_runner.model import load, merge

    source = trained.model_folder
    if trained.adapter:
        found = merge.merged_to(
            folder, adapter=source, base=trained.base_location, revision=trained.revision,
            trust_remote_code=trained.trust_remote_code,
        )  # fmt: skip
        for name, parity in found.items():
            say(f"the adapter and its base against the {name} model: {parity}")
        source = folder
    model, tokenizer = load.pretrained(str(source), trust_remote_code=trained.trust_remote_code)
    return model, tokenizer, source


def mlflow_folder(
    trained: TrainedModel, *, folder: Path, merged: Path, say: Callable[[str], None] = lambda _text: None
) -> Path:
    """Write a training result in the form that Azure registers and serves, and return its folder, made anew."""
    from phi_runner import tracking

    shutil.rmtree(folder, ignore_errors=True)
    model, tokenizer, _source = _plain(trained, folder=merged, say=say)
    tracking.save(
        model, tokenizer, prompt_template=_prompt_template(tokenizer), folder=folder, requirements=model_requirements()
    )
    return folder


def _stored(source: Path, trained: TrainedModel, rundir: RunDir) -> str:
    """Return where the plain weights lie, relative to the store."""
    final = trained.folder if not trained.adapter else rundir.outputs / "store" / StageName.register / rundir.key
    return f"{final.parent.name}/{final.name}/{source.name}"


def _run_id(config: RunConfig, trained: TrainedModel, rundir: RunDir) -> str:
    """Return the run that the model is logged to: the training's, or a new one where this tracker does not know it."""
    from phi_runner import tracking

    marker = rundir.folder / "tracking_run"
    if not marker.is_file():
        marker.write_text(trained.tracking_run, encoding="ascii")
    tracked = tracking.open_run(
        config.tracking, outputs=rundir.outputs, name=f"register-{rundir.key[:12]}", marker=marker, tags={}
    )
    marker.unlink()
    return tracked.run_id


def _prompt_template(tokenizer: Any) -> str:
    """Return the model's chat template around one question, as MLflow wants it."""
    question = [{"role": "user", "content": _PROMPT}]
    return str(tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True))


def _tags(config: RunConfig, trained: TrainedModel, inputs: Inputs, *, key: str) -> dict[str, str]:
    """Return where the model came from; how it measures is known unless nobody could measure it."""
    tags = {
        "phi_runner.register_key": key,
        "phi_runner.version": __version__,
        "phi_runner.train_key": inputs.keys[StageName.train],
        "phi_runner.data_hash": trained.data_hash,
        "phi_runner.template_hash": trained.template_hash,
        "phi_runner.base": trained.base,
    }
    if trained.job:
        tags["phi_runner.job"] = trained.job
    return tags | card_tags(config, inputs)


def still_true(config: RunConfig, artifact: Artifact, _outputs: Path) -> str:
    """Say so when the registry no longer has this version (under its alias, in MLflow), or the weights are gone."""
    if not isinstance(artifact, Registered):
        raise TypeError(f"a {type(artifact).__name__} is not a registered model")
    if artifact.source and not (artifact.model_folder / "config.json").is_file():
        return f"the weights in {artifact.source} are gone"
    if artifact.asset and not clouds.registers_in_workspace(config):
        return "it lies in an Azure workspace, and this run does not look there: type deploy=azure for it"
    if artifact.asset:
        return _still_in_workspace(config, artifact)
    version = alias_points_to(artifact.tracking_uri, name=artifact.name, alias=artifact.alias)
    if version != artifact.version:
        return (
            f"the alias {artifact.alias} of {artifact.name} points to {version or 'nothing'}, not to {artifact.version}"
        )
    return ""


def _still_in_workspace(config: RunConfig, artifact: Registered) -> str:
    from phi_runner.azureml import registry
    from phi_runner.azureml.client import connect

    if registry.has(connect(config.azure), asset=artifact.asset):
        return ""
    return f"the workspace no longer has {artifact.name} version {artifact.version}"


def place(config: RunConfig) -> str:
    """Name the workspace that the model is registered in."""
    from phi_runner.azureml.names import Ids

    return Ids(config.azure).workspace if clouds.registers_in_workspace(config) else ""


STAGE = Stage(
    name=StageName.register,
    about="puts the model into the MLflow registry, or the Azure workspace's, with its lineage",
    run=run,
    produces=Registered,
    reads=reads,
    uses=lambda config: (StageName.infra,) if clouds.registers_in_workspace(config) else (),
    place=place,
    config_parts=("register", "tracking", "evaluate.gate"),
    code=(
        "card/__init__.py",
        "card/content.py",
        "card/figures.py",
        "card/gate.py",
        "card/intervals.py",
        "card/wording.py",
        "model/answering.py",
        "model/engines",
        "model/fingerprint.py",
        "model/load.py",
        "model/merge.py",
        "model/parity.py",
        "model/templates",
        "model/tokenizer.py",
        "tracking",
        "template.py",
        "stages/gate.py",
        "stages/register.py",
    ),
    libraries=("mlflow", "peft", "torch", "transformers"),
    still_true=still_true,
)
