"""Rules across fields and ranges: everything that is wrong with a config is said at once, before anything runs."""

import re
from collections.abc import Iterator

from phi_runner.config import (
    azure_check,
    clouds,
    compute_check,
    earlier_runs,
    evaluation_check,
    files,
    methods,
    objectives,
    plan_mode,
    preference,
    preflight_check,
    resuming,
    serving_check,
    streaming,
    vm_sizes,
)
from phi_runner.config import extra as extra_arguments
from phi_runner.config.architectures import architecture_of
from phi_runner.config.ranges import out_of_range
from phi_runner.config.schema import (
    AzureCompute,
    HubModel,
    LocalModel,
    NanoModel,
    RunConfig,
    StageName,
)
from phi_runner.config.take import parse_take
from phi_runner.errors import ConfigProblem, SweepWouldDeploy

_SERVING = (StageName.deploy, StageName.flow, StageName.chat)
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_PASSWORD = re.compile(r"([\w+.-]+)://([^:/@]*):[^@]*@")  # as SQLAlchemy reads it: a password may hold a slash
_ALIAS = re.compile(r"(?!latest$|v[0-9]+$)[A-Za-z0-9][A-Za-z0-9_-]{0,254}")


def check(config: RunConfig, *, multirun: bool = False) -> None:
    """Raise ConfigProblem naming every rule that the config breaks, or SweepWouldDeploy."""
    if problems := _problems(config):
        raise ConfigProblem("; ".join(problems))
    if told := _would_deploy(config, multirun=multirun):
        raise SweepWouldDeploy(told)


def hindrances(config: RunConfig, *, multirun: bool) -> list[str]:
    """Return what keeps a config from running here and now, but not from being planned.

    Raises ConfigProblem for everything else: such a run means nothing, wherever it would run.
    """
    here = [
        *serving_check.problems(config), *azure_check.problems(config), *compute_check.problems(config),
        *vm_sizes.problems(config),
    ]  # fmt: skip
    if wrong := [problem for problem in _problems(config) if problem not in here]:
        raise ConfigProblem("; ".join(wrong))
    told = _would_deploy(config, multirun=multirun)
    return [*here, told] if told else here


def _problems(config: RunConfig) -> list[str]:
    return [
        *_stages(config), *out_of_range(config), *_model(config), *_lengths(config), *_sizes(config),
        *methods.problems(config), *_take(config), *_names(config), *_tracking(config), *serving_check.problems(config),
        *files.problems(config), *azure_check.problems(config), *compute_check.problems(config),
        *vm_sizes.problems(config), *preference.problems(config), *resuming.problems(config),
        *streaming.problems(config), *objectives.problems(config), *evaluation_check.problems(config),
        *preflight_check.problems(config),
        *earlier_runs.problems(config),
        *plan_mode.problems(config),
        *extra_arguments.problems(config.train.extra, config=extra_arguments.config_of(config.train)),
    ]  # fmt: skip


def _would_deploy(config: RunConfig, *, multirun: bool) -> str:
    """Say that every trial of a sweep would start what bills or serves, though nobody has asked for it."""
    if not multirun or config.sweep.may_deploy:
        return ""
    if clouds.needs_azure(config) and not clouds.rehearses(config):
        return (
            f"every trial would use what bills ({', '.join(clouds.choices(config))}): "
            "type sweep.may_deploy=true to allow it, or azure=rehearsal to try it for nothing"
        )
    serving = [stage for stage in config.stages if stage in _SERVING]
    if not serving:
        return ""
    return (
        f"every trial would perform {', '.join(serving)}: type sweep.may_deploy=true to allow it, "
        f"or stages=[{','.join(stage for stage in config.stages if stage not in _SERVING)}]"
    )


def warnings(config: RunConfig) -> list[str]:
    """Return what a person should know before the run, though nothing is wrong."""
    told = [*serving_check.warnings(config)]
    if clouds.rehearses(config) and "compute=azure_gpu" in clouds.choices(config):
        told.append("azure=rehearsal: the emulated node is this machine and computes on its processor")
    processes = config.azure.processes_per_node
    if isinstance(config.compute, AzureCompute) and not config.compute.gpu and processes > 1:
        told.append(f"azure.processes_per_node={processes} divides a node's cores; one process uses them all")
    return told + vm_sizes.warnings(config) + compute_check.warnings(config)


def _stages(config: RunConfig) -> Iterator[str]:
    names = ",".join(StageName)
    if not config.stages:
        yield f"stages is empty: type stages=[data,train,evaluate] or others of {names}"
    once = list(dict.fromkeys(config.stages))
    if len(once) < len(config.stages):
        yield f"stages names one twice: type stages=[{','.join(once)}]"
    idle = [stage for stage in config.force if stage not in config.stages]
    if idle:
        told = ",".join(stage for stage in StageName if stage in {*config.stages, *idle})
        yield f"force names {', '.join(idle)}, which is not selected: type stages=[{told}]"


def _model(config: RunConfig) -> Iterator[str]:
    """Yield what stands in the way of the model's folder: nano's training values would wreck a pretrained model."""
    model = config.model
    if isinstance(model, NanoModel) and model.path:
        yield f"model.path={model.path} is not made here: type model=local model.path={model.path}"
    if isinstance(model, LocalModel) and not model.path:
        yield "model=local needs model.path=FOLDER"


def _lengths(config: RunConfig) -> Iterator[str]:
    """Compare with the context that is set; files.py compares with the one that a model's folder names."""
    model = config.model
    if isinstance(model, NanoModel | HubModel) and config.train.max_length > model.context:
        yield (
            f"train.max_length={config.train.max_length} is longer than model.context={model.context}: "
            f"type train.max_length={model.context}"
        )
    known = architecture_of(model.repo) if isinstance(model, HubModel) and not model.path else None
    if known and isinstance(model, HubModel) and model.context > known.context:
        yield (
            f"model.context={model.context} is longer than the {known.context} tokens that {model.repo} reads: "
            f"type model.context={known.context}"
        )


def _sizes(config: RunConfig) -> Iterator[str]:
    model = config.model
    if isinstance(model, NanoModel) and model.heads > 0 and model.hidden_size % (2 * model.heads):
        nearest = max(1, round(model.hidden_size / (2 * model.heads))) * 2 * model.heads
        yield (
            f"model.hidden_size={model.hidden_size} is no even multiple of model.heads={model.heads}: "
            f"type model.hidden_size={nearest}"
        )


def _take(config: RunConfig) -> Iterator[str]:
    try:
        parse_take(config.data.take)
    except ConfigProblem as err:
        yield str(err)


def _names(config: RunConfig) -> Iterator[str]:
    asked = [("register.name", config.register.name, _MODEL_NAME), ("register.alias", config.register.alias, _ALIAS)]
    asked += [(key, value, serving_check.NAME) for key, value in serving_check.names(config)]
    for key, value, pattern in asked:
        if not pattern.fullmatch(value):
            yield f"{key}={value!r} is not a legal name{_legal(key, value, pattern)}"


def _tracking(config: RunConfig) -> Iterator[str]:
    uri = config.tracking.uri
    if found := _PASSWORD.match(uri):
        scheme, user = found.groups()
        of_database = f"{user}@" if user and not scheme.startswith("http") else ""
        without = f"{scheme}://{of_database}{uri.rpartition('@')[2]}"
        yield (
            f"tracking.uri holds a password, which would be kept in the run's files: type tracking.uri={without} and "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (for a database its own, such as PGPASSWORD)"
        )
    if not config.tracking.experiment.strip():
        yield "tracking.experiment is empty: type tracking.experiment=phi_runner"


def _legal(key: str, value: str, pattern: re.Pattern[str]) -> str:
    """Suggest the same name with everything illegal replaced."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", value).strip("-")
    fixed = plain if pattern.fullmatch(plain) else f"phi-{plain}".strip("-")
    return f": letters, digits and dashes, such as {key}={fixed}"
