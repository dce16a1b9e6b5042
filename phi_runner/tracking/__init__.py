"""The only home of MLflow: runs with their metrics, and the model registry."""

import io
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from phi_runner.config.schema import TrackingConfig
from phi_runner.errors import ConfigProblem, RegisterFailed
from phi_runner.tracking.tracked import TrackedRun, Untracked

__all__ = ["TrackedRun", "Untracked"]

_SQLITE = "sqlite:///"
_SWEEP_TAG = "phi_runner.sweep_folder"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own name: its pages fold children under their parent
_log = logging.getLogger(__name__)


def uri_of(config: TrackingConfig, *, outputs: Path) -> str:
    """Return the tracking URI: the config's, or a SQLite file under `outputs` whatever the working directory is."""
    return config.uri or f"{_SQLITE}{outputs.resolve()}/mlflow.db"


def _client(uri: str) -> Any:
    from mlflow import MlflowClient
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()  # MLflow prints past Python's logging; what matters comes back as an exception
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: Any, name: str, *, artifacts: Path | None) -> str:
    """Return the experiment's id, made when it is new; two processes may make it at the same moment."""
    from mlflow.exceptions import MlflowException

    location = artifacts.resolve().as_uri() if artifacts else None
    found = client.get_experiment_by_name(name)
    if found is not None and location and found.artifact_location != location:
        # The outputs folder was moved or copied: an experiment writes where it was made, so a new one is needed.
        name = f"{name} in {artifacts}"
        found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


@contextmanager
def _opened(config: TrackingConfig, *, outputs: Path) -> Iterator[tuple[Any, str]]:
    """Give a client and the id of the experiment that runs go to; raises ConfigProblem where nobody answers."""
    from mlflow.exceptions import MlflowException

    uri = uri_of(config, outputs=outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    try:
        client = _client(uri)
        yield client, _experiment(client, config.experiment, artifacts=None if config.uri else outputs / "mlartifacts")
    except MlflowException as err:
        raise ConfigProblem(f"tracking.uri={uri} does not answer: {' '.join(str(err).split())[:160]}") from err


def open_run(config: TrackingConfig, *, outputs: Path, name: str, marker: Path, tags: Mapping[str, str]) -> TrackedRun:
    """Start a run, or go on with the one whose id an interrupted stage left in `marker`; raises ConfigProblem.

    A run that goes on gets the tags too: what a single run began may be continued by a trial of a sweep.
    """
    from mlflow.exceptions import MlflowException

    with _opened(config, outputs=outputs) as (client, experiment):
        if marker.is_file():
            run_id = marker.read_text(encoding="ascii").strip()
            try:
                if client.get_run(run_id).info.experiment_id == experiment:
                    return _continued(client, run_id, tags=tags)
            except MlflowException:
                marker.unlink()  # the tracking server no longer knows that run
        run = client.create_run(experiment, run_name=name, tags=dict(tags))
    marker.write_text(run.info.run_id, encoding="ascii")
    return TrackedRun(client, run.info.run_id)


def open_parent(config: TrackingConfig, *, outputs: Path, sweep: str, title: str) -> TrackedRun:
    """Start the run that a sweep's trainings are children of, or find the one of an earlier call by its tag.

    `sweep` tells one sweep from all others. Whoever calls sees to it that no other process does so at the same time.
    Raises ConfigProblem.
    """
    with _opened(config, outputs=outputs) as (client, experiment):
        tag = sweep.replace("'", "")
        found = client.search_runs([experiment], f"tags.`{_SWEEP_TAG}` = '{tag}'", max_results=1)
        if found:
            return _continued(client, found[0].info.run_id, tags={})
        return TrackedRun(client, client.create_run(experiment, run_name=title, tags={_SWEEP_TAG: tag}).info.run_id)


def _continued(client: Any, run_id: str, *, tags: Mapping[str, str]) -> TrackedRun:
    client.update_run(run_id, status="RUNNING")
    run = TrackedRun(client, run_id)
    run.tags(tags)
    return run


def alias_points_to(uri: str, *, name: str, alias: str) -> str:
    """Return the version that an alias of a registered model points to, or nothing; raises RegisterFailed.

    A SQLite registry is asked directly: importing MLflow takes three seconds, and this is asked on every reuse.
    """
    if uri.startswith(_SQLITE):
        file = uri.removeprefix(_SQLITE)
        if not os.path.isfile(file):
            return ""
        query = (
            "select v.version from registered_model_aliases a join model_versions v on v.name = a.name and "
            "v.version = a.version where a.name = ? and a.alias = ? and v.current_stage != 'Deleted_Internal'"
        )
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                found = database.execute(query, (name, alias)).fetchone()
        except sqlite3.Error:
            return ""
        return str(found[0]) if found else ""
    from mlflow.exceptions import MlflowException

    try:
        return str(_client(uri).get_model_version_by_alias(name, alias).version)
    except MlflowException as err:
        if err.error_code == "RESOURCE_DOES_NOT_EXIST":
            return ""
        raise RegisterFailed(f"MLflow at {uri} does not answer: {' '.join(str(err).split())[:160]}") from err


def measured(
    config: TrackingConfig, *, outputs: Path, run_id: str, values: Mapping[str, float], file: Path
) -> None:  # fmt: skip
    """Record what became of a training in its run; a tracker that no longer knows it costs nobody the card."""
    from mlflow.exceptions import MlflowException

    run = TrackedRun(_client(uri_of(config, outputs=outputs)), run_id)
    try:
        run.metrics(values, step=0)
        run.artifact(file)
    except MlflowException as err:
        _log.warning("%s is not recorded: %s", file.name, err)


def run_of(config: TrackingConfig, *, outputs: Path, model: str) -> str:
    """Return the run that `name/version` of the registry was logged to, or nothing where this registry lacks it."""
    from mlflow.exceptions import MlflowException

    name, _slash, version = model.partition("/")
    try:
        return str(_client(uri_of(config, outputs=outputs)).get_model_version(name, version).run_id or "")
    except MlflowException:
        return ""


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("temperature", DataType.float, 0.7),
                ParamSpec("max_new_tokens", DataType.integer, 128),
                ParamSpec("do_sample", DataType.boolean, False),
                ParamSpec("return_full_text", DataType.boolean, False),
            ]
        ),
    )


def register(
    config: TrackingConfig, *, outputs: Path, run_id: str, model: Any, tokenizer: Any, prompt_template: str, name: str,
    alias: str, tags: Mapping[str, str], requirements: list[str],
) -> str:  # fmt: skip
    """Log a model with MLflow's transformers flavour, register it under `name`, move the alias; return the version.

    `prompt_template` holds `{prompt}`: a bare string scored through MLflow is then asked in the model's own template.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = uri_of(config, outputs=outputs)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = _client(uri)
    try:
        version = _registered_before(client, name=name, key=tags["phi_runner.register_key"])
        if not version:
            # MLflow's models module prints on its own, whatever its log level is.
            with redirect_stderr(io.StringIO()), mlflow.start_run(run_id=run_id):
                logged = mlflow.transformers.log_model(
                    transformers_model={"model": model, "tokenizer": tokenizer}, name="model_output",
                    task="text-generation", prompt_template=prompt_template, signature=_signature(),
                    pip_requirements=requirements,
                )  # fmt: skip
                made = mlflow.register_model(logged.model_uri, name, await_registration_for=None, tags=dict(tags))
            version = str(made.version)
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as err:
        raise RegisterFailed(
            f"MLflow at {uri} did not take the model {name}: {' '.join(str(err).split())[:160]}"
        ) from err
    return version


def save(model: Any, tokenizer: Any, *, prompt_template: str, folder: Path, requirements: list[str]) -> None:
    """Write a model in MLflow's form, as `register` logs it, to a folder that is new or empty; raises RegisterFailed.

    Azure registers and serves from such a folder: logging to its tracking server does not work with MLflow 3.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with redirect_stderr(io.StringIO()):
            mlflow.transformers.save_model(
                transformers_model={"model": model, "tokenizer": tokenizer}, path=str(folder), task="text-generation",
                prompt_template=prompt_template, signature=_signature(), pip_requirements=requirements,
            )  # fmt: skip
    except MlflowException as err:
        raise RegisterFailed(f"MLflow cannot write the model to {folder}: {' '.join(str(err).split())[:160]}") from err


def _registered_before(client: Any, *, name: str, key: str) -> str:
    """Return the version that an earlier run registered for the same result, or nothing."""
    found = client.search_model_versions(f"name = '{name}' and tag.`phi_runner.register_key` = '{key}'")
    return str(found[0].version) if found else ""
