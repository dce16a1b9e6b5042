"""Stage `train`: a dataset in, trained weights or an adapter out, with its curve, its tokenizer and its history."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from phi_runner.artifacts import Artifact, Dataset, TrainedModel
from phi_runner.config.dump import flat
from phi_runner.config.schema import (
    AzureCompute,
    CatalogTrain,
    CpuCompute,
    GpuCompute,
    HubModel,
    LoraTrain,
    NanoModel,
    RunConfig,
    StageName,
)
from phi_runner.errors import ConfigProblem, TrainFailed
from phi_runner.stages.stage import Inputs, RunDir, Stage
from phi_runner.template import template_hash

if TYPE_CHECKING:
    from phi_runner.model.tokens import Dialogue, TokenRows
    from phi_runner.tracking import TrackedRun

_CHECKPOINTS = "checkpoints"
_RUN_MARKER = "tracking_run"


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train, and leave in `rundir.folder`: `model/`, `loss.png`, `history.json`, and `base/` for a model made here."""
    if isinstance(config.train, CatalogTrain):
        from phi_runner.compute import azure

        return azure.fine_tune(config, inputs.get(StageName.data, Dataset), rundir=rundir)
    match config.compute:
        case CpuCompute() | GpuCompute():
            return _here(config, inputs, rundir)
        case AzureCompute():
            return _in_azure(config, inputs, rundir)
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot train")


def _in_azure(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    """Train as a job of the workspace; its metrics are recorded here, where all other runs are."""
    from phi_runner.compute import azure

    dataset = inputs.get(StageName.data, Dataset)
    tracked = _tracked(config, dataset, rundir)
    try:
        trained = azure.train(config, dataset, rundir=rundir)
    except (Exception, KeyboardInterrupt):
        tracked.fail()
        raise
    tracked.replay(json.loads((rundir.folder / "history.json").read_text(encoding="utf-8")))
    tracked.artifact(rundir.folder / "loss.png")
    tracked.finish()
    return replace(trained, tracking_run=tracked.run_id)


def _tracked(config: RunConfig, dataset: Dataset, rundir: RunDir) -> "TrackedRun":
    """Open the run in the tracker, the same one again after an interruption."""
    from phi_runner import tracking

    rundir.scratch.mkdir(parents=True, exist_ok=True)
    tracked = tracking.open_run(
        config.tracking, outputs=rundir.outputs, name=f"train-{rundir.key[:12]}", marker=rundir.scratch / _RUN_MARKER,
        tags={"phi_runner.key": rundir.key, "phi_runner.data_hash": dataset.content_hash},
    )  # fmt: skip
    tracked.parameters(flat(config, part="model") | flat(config, part="train") | {"seed": str(config.seed)})
    return tracked


def _here(config: RunConfig, inputs: Inputs, rundir: RunDir) -> TrainedModel:
    from phi_runner.model import device, load, rows, sft, tokens

    dataset = inputs.get(StageName.data, Dataset)
    place = device.choose(config.compute, precision=config.train.precision)
    rundir.events.info(f"computes on {place.name}, {'bf16 autocast' if place.bf16 else 'fp32'}: {place.why}")
    train_dialogues = rows.dialogues(dataset.train_file)
    start = load.start(config.model, texts=_texts(train_dialogues), seed=config.seed, folder=rundir.folder)
    parameters = sum(weight.numel() for weight in start.model.parameters())
    rundir.events.info(f"starts from {start.base}: {parameters / 1e6:.1f} million parameters")
    _warn_about_random_base(config, rundir)
    tokenise = partial(
        tokens.tokenise, start.tokenizer, max_length=config.train.max_length,
        assistant_only=config.train.assistant_only_loss,
    )  # fmt: skip
    train_rows, test_rows = tokenise(train_dialogues), tokenise(rows.dialogues(dataset.test_file))
    _tell_lengths(train_rows, test_rows, config, rundir)
    tracked = _tracked(config, dataset, rundir)
    try:
        training = sft.fit(
            start.model, start.tokenizer, train_rows=train_rows, eval_rows=test_rows, config=config.train, device=place,
            seed=config.seed, folder=rundir.scratch / _CHECKPOINTS, events=rundir.events, sink=tracked,
        )  # fmt: skip
    except (Exception, KeyboardInterrupt):
        tracked.fail()
        raise
    adapter = isinstance(config.train, LoraTrain)
    if adapter:
        training.model.peft_config["default"].base_model_name_or_path = (
            "../base" if start.base == "base" else start.base
        )
    _leave(training, start, tracked, rundir=rundir)
    losses = training.losses()
    return TrainedModel(
        folder=rundir.folder, base=start.base, revision=start.revision, trust_remote_code=_trusts(config),
        adapter=adapter, max_length=config.train.max_length, parameters=parameters,
        steps=training.steps, loss_first=losses[0], loss_last=losses[-1],
        template_hash=template_hash(rundir.folder / "model"), data_hash=dataset.content_hash,
        tracking_run=tracked.run_id,
    )  # fmt: skip


def _trusts(config: RunConfig) -> bool:
    return isinstance(config.model, HubModel) and config.model.trust_remote_code


def _texts(dialogues: "list[Dialogue]") -> list[str]:
    return [message["content"] for dialogue in dialogues for message in dialogue]


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
        if not found.input_ids:
            raise TrainFailed(f"no {name} dialogue fits into {limit}: type a larger one")
    count = sum(map(len, train_rows.input_ids))
    taught = sum(label >= 0 for labels in train_rows.labels for label in labels)
    rundir.events.info(
        f"{len(train_rows.input_ids)} dialogues, {count} tokens, {taught} of them are learnt", tokens=count
    )


def _leave(training: "object", start: "object", tracked: "TrackedRun", *, rundir: RunDir) -> None:
    """Write the result's files."""
    from phi_runner import plots
    from phi_runner.model import load
    from phi_runner.model.load import Start
    from phi_runner.model.sft import Training

    assert isinstance(training, Training)  # noqa: S101 - typed here so that no heavy import is needed above
    assert isinstance(start, Start)  # noqa: S101
    load.save(training.model, start.tokenizer, folder=rundir.folder / "model")
    (rundir.folder / "history.json").write_text(json.dumps(training.history, indent=1) + "\n", encoding="utf-8")
    curve = rundir.folder / "loss.png"
    plots.loss_curve(training.history, file=curve, title=f"loss, {training.steps} steps")
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
    local_inputs=local_inputs,
    still_true=still_true,
    code=(
        "model/checkpoints.py",
        "model/device.py",
        "model/load.py",
        "model/phi3.jinja",
        "model/rows.py",
        "model/sft.py",
        "model/tokenizer.py",
        "model/tokens.py",
        "model/trainer.py",
        "model/watch.py",
        "stages/train.py",
        "template.py",
        "plots.py",
    ),
    libraries=("torch", "transformers", "trl", "peft", "accelerate", "tokenizers"),
)
