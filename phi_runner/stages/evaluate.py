"""Stage `evaluate`: the before/after card, from the same held-out rows asked of the base and of what became of it."""

import json
import math
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.artifacts import ANSWERS_FILE, Dataset, Scorecard, TrainedModel
from phi_runner.config.evaluation_check import unmeasured
from phi_runner.config.schema import (
    AzureCompute,
    CpuCompute,
    DpoTrain,
    GpuCompute,
    GpusCompute,
    JudgeConfig,
    RowFormat,
    RunConfig,
    SlurmCompute,
    StageName,
)
from phi_runner.errors import ConfigProblem, EvaluateFailed, MissingInput
from phi_runner.stages.stage import Inputs, RunDir, Stage

if TYPE_CHECKING:
    from phi_runner.card.content import Card
    from phi_runner.card.measuring import Asked, Measures

_SHOWN = 3


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Scorecard:
    """Make the card, where the compute choice says; the judge is asked from here, and so is the tracker told.

    A judge's key never leaves this machine.
    """
    asked_of_none = replace(config, evaluate=replace(config.evaluate, judge=JudgeConfig()))
    dataset, trained = inputs.get(StageName.data, Dataset), inputs.get(StageName.train, TrainedModel)
    match config.compute:
        case CpuCompute() | GpuCompute() | GpusCompute():  # of several processes and devices the first one measures
            made = here(config, inputs, rundir)
        case SlurmCompute():
            from phi_runner.compute import slurm

            made = slurm.evaluate(asked_of_none, dataset, trained, rundir=rundir)
        case AzureCompute():
            from phi_runner.compute import azure

            made = azure.evaluate(asked_of_none, dataset, trained, rundir=rundir)
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot evaluate")
    return _finished(made, config, trained, rundir)


def here(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Scorecard:
    """Measure both models in this process, one after the other, and write the card; the judge comes later."""
    from phi_runner.card import assembly, content
    from phi_runner.card.measuring import rows_of
    from phi_runner.model import load

    dataset, trained = inputs.get(StageName.data, Dataset), inputs.get(StageName.train, TrainedModel)
    asked = _asked(config, dataset, trained, rundir)
    before = _measured(asked, trained, rundir, label="base")
    after = _measured(asked, trained, rundir, label="trained")
    tokenizer = load.tokenizer(trained.model_folder)
    known = assembly.Known(
        decides="preferred" if isinstance(config.train, DpoTrain) else "loss",
        from_scratch=_from_scratch(trained), seed=config.seed,
    )  # fmt: skip
    card = assembly.card_of(
        asked, before, after, known=known, rows=rows_of(tokenizer, asked), tokenizer=tokenizer
    )  # fmt: skip
    table = assembly.table_of(asked, before, after)
    _write_lines(rundir.folder / ANSWERS_FILE, table)
    _write_lines(rundir.folder / content.ROWS_FILE, _rows(before, after))
    content.write(card, folder=rundir.folder)
    return _scorecard(card, rundir.folder)


def _asked(config: RunConfig, dataset: Dataset, trained: TrainedModel, rundir: RunDir) -> "Asked":
    """Return what both models are asked; raises MissingInput where the weights are elsewhere."""
    from phi_runner.card import harness, probe
    from phi_runner.card.measuring import Asked
    from phi_runner.model import device, pairs
    from phi_runner.model.tokens import first

    if trained.in_cloud:
        raise MissingInput(
            f"the weights were left in the workspace by job {trained.job}: measure them there with "
            "compute=azure_cpu or azure_gpu, or fetch them with stages=[train] azure.fetch_result=true and that compute"
        )
    return Asked(
        file=dataset.test_file,
        prompts=first(dataset.test_file, config.evaluate.prompts),
        compared=pairs.read(dataset.test_file) if dataset.format == RowFormat.preference else [],
        probe=probe.dialogues(config.evaluate, from_scratch=_from_scratch(trained), events=rundir.events),
        tasks=harness.prepare(config.evaluate),
        config=config.evaluate,
        max_length=trained.max_length,
        cache=rundir.outputs / "cache" / "tokens",
        place=device.choose(config.compute, precision=config.train.precision),
    )


def _from_scratch(trained: TrainedModel) -> bool:
    """Say whether the base was made for this training, of random weights."""
    return trained.base == "base"


def _measured(asked: "Asked", trained: TrainedModel, rundir: RunDir, *, label: str) -> "Measures":
    """Measure one of the two models, unless an interrupted run has; two of a real size do not fit side by side."""
    from phi_runner.card import measuring
    from phi_runner.model import load, merge

    file = rundir.scratch / f"{label}.json"
    if found := measuring.kept(file):
        rundir.events.info(f"the {label} model was measured before the interruption")
        return found
    if label == "base":
        model, tokenizer = load.pretrained(
            trained.base_location, revision=trained.revision or "main", trust_remote_code=trained.trust_remote_code
        )
    else:
        model, tokenizer = merge.trained(
            trained.model_folder, adapter=trained.adapter, base=trained.base_location, revision=trained.revision,
            trust_remote_code=trained.trust_remote_code,
        )  # fmt: skip
    measures = measuring.of(model, tokenizer, asked, label=label, events=rundir.events)
    measuring.keep(measures, file=file)
    return measures


def _rows(before: "Measures", after: "Measures") -> list[dict[str, Any]]:
    """Return what the loss is made of, row by row."""
    sides = (before.held_out.sums, before.held_out.tokens, after.held_out.sums, after.held_out.tokens)
    names = ("nats_before", "tokens_before", "nats_after", "tokens_after")
    return [dict(zip(names, row, strict=True)) for row in zip(*sides, strict=True)]


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _finished(made: Scorecard, config: RunConfig, trained: TrainedModel, rundir: RunDir) -> Scorecard:
    """Ask the judge, tell the tracker and show the card."""
    from phi_runner import tracking
    from phi_runner.card import content, judge, wording

    card = content.read(made.folder)
    if card is None:
        raise EvaluateFailed(f"{made.folder / content.CARD_FILE} cannot be read: type force=[evaluate]")
    lines = (made.folder / ANSWERS_FILE).read_text(encoding="utf-8").split("\n")
    table = [json.loads(line) for line in lines if line]
    asked = config.evaluate.judge
    if asked.url and table:
        most = min(len(table), asked.prompts)
        card = judge.judge(
            card, table, config=asked, told=lambda done: rundir.events.progress(done, most, "prompts judged")
        )  # fmt: skip
        content.write(card, folder=made.folder)
    for row in table[:_SHOWN]:
        rundir.events.info(f"Q {wording.short(row['messages'][-1]['content'])}")
        rundir.events.info(f"  before: {wording.short(row['before'])}")
        rundir.events.info(f"  after:  {wording.short(row['after'])}")
    for line in wording.lines(card):
        rundir.events.info(line)
    if trained.tracking_run:
        tracking.measured(
            config.tracking, outputs=rundir.outputs, run_id=trained.tracking_run, values=_metrics(card),
            file=made.folder / content.CARD_FILE,
        )  # fmt: skip
    return _scorecard(card, made.folder)


def _metrics(card: "Card") -> dict[str, float]:
    """Return every figure with its interval, as a tracker takes them."""
    parts = ("before", "after", "difference", "low", "high")
    names = {part: f"{part}" if part in parts[:3] else f"difference_{part}" for part in parts}
    return {
        f"card/{figure.name}/{names[part]}": value
        for figure in card.figures
        for part in parts
        if math.isfinite(value := getattr(figure, part))
    }


def _scorecard(card: "Card", folder: Path) -> Scorecard:
    """Return the few figures that other stages, tables and sweeps need."""
    from phi_runner.card.figures import Verdict

    def side(name: str, part: str) -> float | None:
        figure = card.figure(name)
        return getattr(figure, part) if figure else None

    decides = card.figure(card.decided_by)
    bounds = (getattr(decides, part) for part in ("difference", "low", "high"))
    difference, low, high = (value if math.isfinite(value) else None for value in bounds)
    worse = [figure.name for figure in card.figures if figure.counts and figure.verdict is Verdict.worse]
    return Scorecard(
        folder=folder, rows=card.held_out_rows, prompts=card.prompts,
        loss_before=side("loss", "before") or 0.0, loss_after=side("loss", "after") or 0.0,
        perplexity_before=side("perplexity", "before") or 0.0, perplexity_after=side("perplexity", "after") or 0.0,
        exact_before=side("exact", "before"), exact_after=side("exact", "after"),
        preferred_before=side("preferred", "before"), preferred_after=side("preferred", "after"),
        decided_by=card.decided_by, verdict=str(card.verdict), words=card.words, difference=difference,
        difference_low=low, difference_high=high, worse=",".join(worse),
    )  # fmt: skip


def local_inputs(config: RunConfig) -> list[Path]:
    """Return the files of the user's own that both models are asked about."""
    named = (config.evaluate.probe_file if config.evaluate.probe else "", config.evaluate.tasks_folder)
    return [Path(place).expanduser().resolve() for place in named if place]


def harness_version(config: RunConfig) -> dict[str, str]:
    """Tell the version of the LM Evaluation Harness where its tasks are asked; its other users keep their results."""
    if not config.evaluate.tasks:
        return {}
    try:
        return {"lm_eval": version("lm_eval")}
    except PackageNotFoundError:
        return {}


STAGE = Stage(
    name=StageName.evaluate,
    about="measures both models on the same held-out rows: the before/after card",
    run=run,
    produces=Scorecard,
    reads=lambda _config: (StageName.data, StageName.train),
    uses=lambda config: (StageName.infra,) if isinstance(config.compute, AzureCompute) else (),
    skip=unmeasured,
    config_parts=("evaluate", "seed"),
    undecided=(
        "evaluate.gate",
        "evaluate.judge.key_env",
        "evaluate.judge.timeout_s",
        "evaluate.probe_file",  # their bytes decide
        "evaluate.tasks_folder",
    ),
    local_inputs=local_inputs,
    code=(
        "card",
        "data",
        "model/answering.py",
        "model/device.py",
        "model/engines",
        "model/fingerprint.py",
        "model/load.py",
        "model/merge.py",
        "model/parity.py",
        "model/templates",
        "model/measure.py",
        "model/pairs.py",
        "model/tokenizer.py",
        "model/tokens",
        "rank.py",
        "stages/evaluate.py",
    ),
    libraries=("torch", "transformers", "peft", "tokenizers", "numpy"),
    told=harness_version,
)
