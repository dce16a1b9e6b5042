"""Stage `register`: a version in the model registry that plain MLflow can load, with where it came from."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from phi_runner import __version__
from phi_runner.artifacts import Artifact, Registered, Scorecard, TrainedModel
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.template import template_hash
from phi_runner.tracking import alias_points_to, uri_of

_PROMPT = "{prompt}"


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Registered:
    """Merge an adapter if there is one, log the model to MLflow, move the alias."""
    from phi_runner import tracking
    from phi_runner.model import load

    trained = inputs.get(StageName.train, TrainedModel)
    scorecard = inputs.get(StageName.evaluate, Scorecard)
    model, tokenizer = load.trained(
        trained.model_folder, adapter=trained.adapter, base=trained.base_location, revision=trained.revision,
        trust_remote_code=trained.trust_remote_code,
    )  # fmt: skip
    source = trained.model_folder
    if trained.adapter:
        # MLflow reloads a PEFT object with a local base wrongly and says nothing, so what it gets is one plain model.
        source = rundir.folder / "merged"
        load.save(model, tokenizer, folder=source)
        rundir.events.info("merged the adapter into its base")
        model, tokenizer = load.pretrained(str(source))
    number = tracking.register(
        config.tracking,
        outputs=rundir.outputs,
        run_id=_run_id(config, trained, rundir),
        model=model,
        tokenizer=tokenizer,
        prompt_template=_prompt_template(tokenizer),
        name=config.register.name,
        alias=config.register.alias,
        tags={"phi_runner.register_key": rundir.key} | _tags(trained, scorecard, inputs),
        requirements=_requirements(),
    )
    rundir.events.info(f"registered {config.register.name} version {number}, alias {config.register.alias}")
    final = trained.folder if not trained.adapter else rundir.outputs / "store" / StageName.register / rundir.key
    return Registered(
        folder=rundir.folder, name=config.register.name, version=number, alias=config.register.alias,
        tracking_uri=uri_of(config.tracking, outputs=rundir.outputs),
        source=f"{final.parent.name}/{final.name}/{source.name}", template_hash=template_hash(source),
    )  # fmt: skip


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


def _tags(trained: TrainedModel, scorecard: Scorecard, inputs: Inputs) -> dict[str, str]:
    return {
        "phi_runner.version": __version__,
        "phi_runner.train_key": inputs.keys[StageName.train],
        "phi_runner.evaluate_key": inputs.keys[StageName.evaluate],
        "phi_runner.data_hash": trained.data_hash,
        "phi_runner.template_hash": trained.template_hash,
        "phi_runner.base": trained.base,
        "phi_runner.loss_before": f"{scorecard.loss_before:.4f}",
        "phi_runner.loss_after": f"{scorecard.loss_after:.4f}",
    }


def _requirements() -> list[str]:
    return [f"{name}=={version(name).partition('+')[0]}" for name in ("mlflow", "torch", "transformers", "accelerate")]


def still_true(_config: RunConfig, artifact: Artifact, _outputs: Path) -> str:
    """Say so when the registry no longer has this version under its alias, or the weights are gone."""
    if not isinstance(artifact, Registered):
        raise TypeError(f"a {type(artifact).__name__} is not a registered model")
    if not (artifact.model_folder / "config.json").is_file():
        return f"the weights in {artifact.source} are gone"
    version = alias_points_to(artifact.tracking_uri, name=artifact.name, alias=artifact.alias)
    if version != artifact.version:
        return (
            f"the alias {artifact.alias} of {artifact.name} points to {version or 'nothing'}, not to {artifact.version}"
        )
    return ""


STAGE = Stage(
    name=StageName.register,
    about="puts the model into the MLflow registry with its lineage",
    run=run,
    produces=Registered,
    reads=lambda _config: (StageName.train, StageName.evaluate),
    config_parts=("register", "tracking"),
    code=("model/load.py", "model/tokenizer.py", "tracking.py", "template.py", "stages/register.py"),
    libraries=("mlflow", "peft", "torch", "transformers"),
    still_true=still_true,
)
