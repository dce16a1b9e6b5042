"""Stage `train`: a dataset in, trained weights or an adapter out, with its curve, its tokenizer and its history."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.artifacts import MEASURED_FILE, Artifact, Dataset, TrainedModel
from phi_runner.config import preference
from phi_runner.config.resuming import NOT_THE_RESULT
from phi_runner.config.schema import (
    AzureCompute,
    CatalogTrain,
    CpuCompute,
    DpoTrain,
    GpuCompute,
    GpusCompute,
    HubModel,
    LoraTrain,
    NanoModel,
    RowFormat,
    RunConfig,
    SlurmCompute,
    StageName,
)
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.rank import Rank
from phi_runner.stages.records import open_run
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.stages.streamed import learnt as learnt_while_read
from phi_runner.sweep import pruning
from phi_runner.template import template_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from phi_runner.model.device import Device
    from phi_runner.model.tokens import TokenRows
    from phi_runner.model.training.fit import Training
    from phi_runner.tracking import TrackedRun

_CHECKPOINTS = "checkpoints"


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train; leave `model/`, `loss.png`, `history.json`, `measured.json`, and `base/` for a model made here."""
    if isinstance(config.train, CatalogTrain):
        from phi_runner.compute import azure

        return azure.fine_tune(config, inputs.get(StageName.data, Dataset), rundir=rundir)
    dataset = inputs.get(StageName.data, Dataset)
    preference.check_rows(config, spelled=dataset.format, source=dataset.source)
    match config.compute:
        case CpuCompute() | GpuCompute() | GpusCompute():
            return _on_this_machine(config, inputs, rundir)
        case SlurmCompute():
            from phi_runner.compute import slurm

            return slurm.train(config, inputs.get(StageName.data, Dataset), rundir=rundir)
        case AzureCompute():
            return _in_azure(config, inputs, rundir)
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot train")


def _on_this_machine(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train in this process, or in several that share each step."""
    from phi_runner.compute import torchrun

    count = torchrun.count(config, say=rundir.events.info)
    if count == 1:
        return here(config, inputs, rundir)
    dataset = inputs.get(StageName.data, Dataset)
    # Opened here: a process that is lost then leaves no half-made tracker.
    tracked = open_run(config, dataset, rundir)
    try:
        return torchrun.train(config, dataset, count=count, rundir=rundir)
    except (Exception, KeyboardInterrupt) as err:
        tracked.fail(err)
        raise


def _in_azure(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train as a job of the workspace; its metrics are recorded here, where all other runs are."""
    from phi_runner.compute import azure

    dataset = inputs.get(StageName.data, Dataset)
    tracked = open_run(config, dataset, rundir)
    try:
        trained = azure.train(config, dataset, rundir=rundir)
    except (Exception, KeyboardInterrupt) as err:
        tracked.fail(err)
        raise
    tracked.replay(json.loads((rundir.folder / "history.json").read_text(encoding="utf-8")))
    tracked.artifact(rundir.folder / "loss.png")
    tracked.finish()
    return replace(trained, tracking_run=tracked.run_id)


def here(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train in this process, alone or as one of several; then only the first one leaves a result."""
    from phi_runner.model import device
    from phi_runner.model.training import spread

    place = device.choose(config.compute, precision=config.train.precision)
    with spread.joined(place):
        return _train(config, inputs.get(StageName.data, Dataset), rundir, place=place)


def _train(config: RunConfig, dataset: Dataset, rundir: RunDir, *, place: "Device") -> TrainedModel:
    from phi_runner.model import load, templates
    from phi_runner.model.tokens import texts
    from phi_runner.model.training import adapters, meter, spread

    meter.forget_peak()
    four_bits = adapters.quantization(config.train)
    rundir.events.info(f"computes on {place.name}, {'bf16 autocast' if place.bf16 else 'fp32'}: {place.why}")
    with spread.first_alone():
        start = load.start(
            config.model, texts=texts(dataset.train_file), seed=config.seed, folder=rundir.folder,
            quantization=four_bits,
        )  # fmt: skip
    parameters = sum(weight.numel() for weight in start.model.parameters())
    rundir.events.info(f"starts from {start.base}: {parameters / 1e6:.1f} million parameters")
    rundir.events.info(templates.described(start.tokenizer))
    _warn_about_random_base(config, rundir)
    if isinstance(config.train, DpoTrain):
        fit = _compared(config, dataset, start.tokenizer, rundir, train=config.train)
    else:
        fit = _learnt(config, dataset, start.tokenizer, rundir)
    tracked = open_run(config, dataset, rundir)
    try:
        training = fit(
            start.model, start.tokenizer, device=place, seed=config.seed, folder=rundir.scratch / _CHECKPOINTS,
            events=rundir.events, sink=tracked, judge=pruning.judge(config),
        )  # fmt: skip
    except (Exception, KeyboardInterrupt) as err:
        tracked.fail(err)
        raise
    adapter = hasattr(training.model, "peft_config")
    if adapter:
        training.model.peft_config["default"].base_model_name_or_path = (
            "../base" if start.base == "base" else start.base
        )
    if Rank.here().first:
        _leave(training, start, tracked, rundir=rundir)
    losses = training.losses()
    return TrainedModel(
        folder=rundir.folder, base=start.base, revision=start.revision, trust_remote_code=_trusts(config),
        adapter=adapter, max_length=config.train.max_length, parameters=parameters,
        steps=training.steps, loss_first=losses[0], loss_last=losses[-1],
        template_hash=template_hash(rundir.folder / "model") if Rank.here().first else "",
        data_hash=dataset.content_hash, tracking_run=tracked.run_id,
    )  # fmt: skip


def _learnt(config: RunConfig, dataset: Dataset, tokenizer: Any, rundir: RunDir) -> "Callable[..., Training]":
    """Return the supervised training over a data set's dialogues, tokens made; model and place are left to give."""
    from phi_runner.model import tokens
    from phi_runner.model.training import fit, resume

    if dataset.streamed:
        return learnt_while_read(config, dataset, tokenizer, rundir)
    if dataset.format == RowFormat.preference:
        rundir.events.info("the rows are pairs of answers: learns the chosen ones (train=dpo compares the two)")
    tokenise = partial(
        tokens.tokenise_file, tokenizer, max_length=config.train.max_length,
        assistant_only=config.train.assistant_only_loss, cache=rundir.outputs / "cache" / "tokens",
        on_wait=lambda: rundir.events.info("another process makes the token rows of this data: waits for them"),
    )  # fmt: skip
    train_rows, test_rows = tokenise(dataset.train_file), tokenise(dataset.test_file)
    _tell_lengths(train_rows, test_rows, config, rundir)
    settings = resume.settings(config, data_hash=dataset.content_hash, rows=len(train_rows.lengths))
    return partial(fit.fit, train_rows=train_rows, eval_rows=test_rows, config=config.train, settings=settings)


def _compared(
    config: RunConfig, dataset: Dataset, tokenizer: Any, rundir: RunDir, *, train: DpoTrain
) -> "Callable[..., Training]":
    """Return the preference training over a data set's pairs, as `_learnt` does."""
    from phi_runner.model import pairs
    from phi_runner.model.training import dpo, resume

    learnt, held_out = pairs.prepared(dataset, tokenizer, max_length=train.max_length, events=rundir.events)
    settings = resume.settings(config, data_hash=dataset.content_hash, rows=len(learnt.prompt_ids))
    return partial(dpo.fit, train_pairs=learnt, eval_pairs=held_out, config=train, settings=settings)


def _trusts(config: RunConfig) -> bool:
    return isinstance(config.model, HubModel) and config.model.trust_remote_code


def _warn_about_random_base(config: RunConfig, rundir: RunDir) -> None:
    if isinstance(config.model, NanoModel) and not config.model.path and isinstance(config.train, LoraTrain):
        rundir.events.warn(
            "model=phi3_nano starts from random weights, which an adapter alone can hardly teach to speak; "
            "type train=full, or model=local model.path=FOLDER of a model that was trained before"
        )


def _tell_lengths(train_rows: "TokenRows", test_rows: "TokenRows", config: RunConfig, rundir: RunDir) -> None:
    limit = f"train.max_length={config.train.max_length}"
    for name, found in (("train", train_rows), ("test", test_rows)):
        if found.shortened or found.dropped:
            rundir.events.warn(
                f"{name}: {found.shortened} dialogues are longer than {limit} and were cut, each keeps an answer; "
                f"{found.dropped} were dropped because their first question leaves no room for an answer",
                shortened=found.shortened, dropped=found.dropped,
            )  # fmt: skip
        if not len(found.lengths):
            raise TrainFailed(f"no {name} dialogue fits into {limit}: type a larger one")
    count, taught = train_rows.tokens, train_rows.taught
    rundir.events.info(
        f"{len(train_rows.lengths)} dialogues, {count} tokens, {taught} of them are learnt", tokens=count
    )


def _leave(training: "object", start: "object", tracked: "TrackedRun", *, rundir: RunDir) -> None:
    """Write the result's files."""
    from phi_runner.model import load
    from phi_runner.model.load import Start
    from phi_runner.model.training import meter
    from phi_runner.model.training.fit import Training
    from phi_runner.plots.loss import loss_curve

    assert isinstance(training, Training)  # noqa: S101 - typed here so that no heavy import is needed above
    assert isinstance(start, Start)  # noqa: S101
    load.save(
        training.model, start.tokenizer, folder=rundir.folder / "model", weights=training.weights,
        base=start.fingerprint,
    )  # fmt: skip
    (rundir.folder / "history.json").write_text(json.dumps(training.history, indent=1) + "\n", encoding="utf-8")
    told = dict(training.measured) | {"peak_bytes": meter.peak_bytes()}  # saving is a part of it
    (rundir.folder / MEASURED_FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    curve = rundir.folder / "loss.png"
    loss_curve(training.history, file=curve, title=f"loss, {training.steps} steps")
    tracked.artifact(curve)
    tracked.finish()


def local_inputs(config: RunConfig) -> list[Path]:
    """Return the local model folder when training starts from one."""
    return [Path(config.model.path).expanduser().resolve()] if config.model.path else []


def still_true(config: RunConfig, artifact: Artifact, _outputs: Path) -> str:
    """Say so when the weights were left in the workspace and this run wants them here; fetching is then all it does."""
    left = isinstance(artifact, TrainedModel) and artifact.in_cloud and isinstance(config.compute, AzureCompute)
    if left and config.azure.fetch_result and not isinstance(config.train, CatalogTrain):
        return "its weights were left in the workspace"
    return ""


def uses(config: RunConfig) -> tuple[StageName, ...]:
    """Name the workspace when training happens there."""
    remote = isinstance(config.compute, AzureCompute) or isinstance(config.train, CatalogTrain)
    return (StageName.infra,) if remote else ()


STAGE = Stage(
    name=StageName.train,
    about="fine-tunes the model with TRL; continues from the last checkpoint after an interruption",
    run=run,
    produces=TrainedModel,
    reads=lambda _config: (StageName.data,),
    uses=uses,
    config_parts=("model", "train", "seed"),
    undecided=NOT_THE_RESULT,
    local_inputs=local_inputs,
    still_true=still_true,
    code=(
        "data",
        "model/device.py",
        "model/load.py",
        "model/pairs.py",
        "model/fingerprint.py",
        "model/phi3.jinja",
        "model/templates",
        "model/tokenizer.py",
        "model/tokens",
        "model/training",
        "stages/streamed.py",
        "stages/train.py",
        "template.py",
        "plots/loss.py",
        "rank.py",
    ),
    libraries=("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "pyarrow", "datasets"),
)
