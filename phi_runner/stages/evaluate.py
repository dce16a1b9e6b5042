"""Stage `evaluate`: held-out loss and the same prompts before and after training, before being the base."""

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phi_runner.artifacts import ANSWERS_FILE, Dataset, Scorecard, TrainedModel
from phi_runner.config.schema import (
    AzureCompute,
    CatalogTrain,
    CpuCompute,
    GpuCompute,
    GpusCompute,
    RowFormat,
    RunConfig,
    SlurmCompute,
    StageName,
)
from phi_runner.errors import ConfigProblem, MissingInput, TrainFailed
from phi_runner.stages.stage import Inputs, RunDir, Stage

if TYPE_CHECKING:
    from phi_runner.model.device import Device
    from phi_runner.model.pairs import Pair
    from phi_runner.model.tokens import Dialogue

_SHOWN = 3


def run(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Scorecard:
    """Measure base and trained model on the held-out rows; `answers.jsonl` holds their answers side by side."""
    match config.compute:
        case CpuCompute() | GpuCompute() | GpusCompute():  # of several processes and devices the first one measures
            return here(config, inputs, rundir)
        case SlurmCompute():
            from phi_runner.compute import slurm

            dataset, trained = inputs.get(StageName.data, Dataset), inputs.get(StageName.train, TrainedModel)
            return slurm.evaluate(config, dataset, trained, rundir=rundir)
        case AzureCompute():
            from phi_runner.compute import azure

            dataset, trained = inputs.get(StageName.data, Dataset), inputs.get(StageName.train, TrainedModel)
            return azure.evaluate(config, dataset, trained, rundir=rundir)
        case unknown:
            raise ConfigProblem(f"compute={unknown.kind} cannot evaluate")


def here(config: RunConfig, inputs: Inputs, rundir: RunDir) -> Scorecard:
    """Measure in this process."""
    from phi_runner.model import device, load, merge, pairs
    from phi_runner.model.tokens import first

    dataset = inputs.get(StageName.data, Dataset)
    trained = inputs.get(StageName.train, TrainedModel)
    if trained.in_cloud:
        raise MissingInput(
            f"the weights were left in the workspace by job {trained.job}: measure them there with "
            "compute=azure_cpu or azure_gpu, or fetch them with stages=[train] azure.fetch_result=true and that compute"
        )
    place = device.choose(config.compute, precision=config.train.precision)
    prompts = first(dataset.test_file, config.evaluate.prompts)
    compared = pairs.read(dataset.test_file) if dataset.format == RowFormat.preference else []
    measured = partial(
        _measure, prompts=prompts, file=dataset.test_file, compared=compared, config=config, trained=trained,
        place=place, rundir=rundir,
    )  # fmt: skip
    model, tokenizer = load.pretrained(
        trained.base_location, revision=trained.revision or "main", trust_remote_code=trained.trust_remote_code
    )
    before = measured(model, tokenizer, label="base")
    del model  # two models of a real size do not fit side by side
    model, tokenizer = merge.trained(
        trained.model_folder, adapter=trained.adapter, base=trained.base_location, revision=trained.revision,
        trust_remote_code=trained.trust_remote_code,
    )  # fmt: skip
    after = measured(model, tokenizer, label="trained")
    table = _side_by_side(
        prompts, before.answers, after.answers, tokenizer=tokenizer, limit=config.evaluate.max_new_tokens
    )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    (rundir.folder / ANSWERS_FILE).write_text(lines, encoding="utf-8")
    _show(table, rundir)
    return Scorecard(
        folder=rundir.folder, rows=dataset.test_rows, loss_before=before.loss, loss_after=after.loss,
        perplexity_before=_perplexity(before.loss), perplexity_after=_perplexity(after.loss), prompts=len(prompts),
        exact_before=_exact(table, "before"), exact_after=_exact(table, "after"),
        preferred_before=before.preferred, preferred_after=after.preferred,
    )  # fmt: skip


def _perplexity(loss: float) -> float:
    """Return e to the loss; a hopeless model's may be too large for a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _question(dialogue: "Dialogue") -> "tuple[Dialogue, str]":
    """Split a dialogue before its last answer."""
    last = max(position for position, message in enumerate(dialogue) if message["role"] == "assistant")
    return dialogue[:last], dialogue[last]["content"]


class _Measured(NamedTuple):
    loss: float
    answers: list[str]
    preferred: float | None


def _measure(
    model: Any, tokenizer: Any, *, prompts: "list[Dialogue]", file: Path, compared: "list[Pair]", config: RunConfig,
    trained: TrainedModel, place: "Device", rundir: RunDir, label: str,
) -> _Measured:  # fmt: skip
    from phi_runner.model import measure, pairs, tokens

    rows = tokens.tokenise_file(
        tokenizer, file, max_length=trained.max_length, cache=rundir.outputs / "cache" / "tokens"
    )
    if not len(rows.lengths):
        raise TrainFailed(f"no held-out dialogue fits into train.max_length={trained.max_length}: type a larger one")
    size = config.evaluate.batch_size
    loss = measure.held_out_loss(model, rows, pad=tokenizer.pad_token_id, batch_size=size, device=place)
    rundir.events.info(f"held-out loss of the {label} model: {loss:.3f}", loss=loss)
    preferred = None
    both = pairs.tokenise(tokenizer, compared, max_length=trained.max_length)
    if both.prompt_ids:
        preferred = pairs.preferred_share(model, both, pad=tokenizer.pad_token_id, batch_size=size, device=place)
        rundir.events.info(f"held-out pairs: the {label} model prefers the chosen answer in {preferred:.0%}")
    found = measure.answers(
        model, tokenizer, [_question(dialogue)[0] for dialogue in prompts], batch_size=size, device=place,
        max_new_tokens=config.evaluate.max_new_tokens,
        told=lambda done: rundir.events.progress(done, len(prompts), f"{label} model answers"),
    )  # fmt: skip
    return _Measured(loss, found, preferred)


def _side_by_side(
    prompts: "list[Dialogue]", before: list[str], after: list[str], *, tokenizer: Any, limit: int
) -> list[dict[str, Any]]:
    table = []
    for dialogue, answer_before, answer_after in zip(prompts, before, after, strict=True):
        question, wanted = _question(dialogue)
        table.append(
            {
                "messages": list(question),
                "wanted": wanted,
                "before": answer_before,
                "after": answer_after,
                "max_new_tokens": limit,
                "comparable": len(tokenizer(wanted, add_special_tokens=False)["input_ids"]) < limit,
            }
        )
    return table


def _exact(table: list[dict[str, Any]], side: str) -> float | None:
    """Return the share of answers equal to the data's, among those short enough to be given in full."""
    rows = [row for row in table if row["comparable"]]
    return sum(row[side] == row["wanted"].strip() for row in rows) / len(rows) if rows else None


def _short(text: str, *, most: int = 100) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _show(table: list[dict[str, Any]], rundir: RunDir) -> None:
    for row in table[:_SHOWN]:
        rundir.events.info(f"Q {_short(row['messages'][-1]['content'])}")
        rundir.events.info(f"  before: {_short(row['before'])}")
        rundir.events.info(f"  after:  {_short(row['after'])}")


def skip(config: RunConfig) -> str:
    """Say that a model of the catalog's fine-tune, or of a sweep's trial, cannot be opened here."""
    if config.sweep.grid:
        return "a sweep's trials measure themselves"
    return "train=azure_catalog leaves its model in Azure" if isinstance(config.train, CatalogTrain) else ""


STAGE = Stage(
    name=StageName.evaluate,
    about="measures held-out loss and shows the same prompts before and after",
    run=run,
    produces=Scorecard,
    reads=lambda _config: (StageName.data, StageName.train),
    uses=lambda config: (StageName.infra,) if isinstance(config.compute, AzureCompute) else (),
    skip=skip,
    config_parts=("evaluate",),
    code=(
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
    libraries=("torch", "transformers", "peft", "tokenizers"),
)
