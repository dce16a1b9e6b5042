"""The table at the end of a run: what each stage did."""

import shlex
import sys
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Artifact, Dataset, Endpoint, Flow, Registered, Scorecard, TrainedModel, Workspace
from phi_runner.config.schema import StageName
from phi_runner.record import RunRecord

_WIDTH_WHEN_PIPED = 140


def _print(table: object) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED).print(table)


def line(artifact: Artifact) -> str:
    """Say in a few words what a result is."""
    match artifact:
        case Workspace():
            cluster = f", cluster {artifact.cluster}" if artifact.cluster else ""
            return f"workspace {artifact.name} in {artifact.region}{cluster}"
        case Dataset():
            learnt = "train rows streamed" if artifact.streamed else f"{artifact.train_rows} train rows"
            return f"{learnt}, {artifact.test_rows} test rows ({artifact.format})"
        case TrainedModel():
            what = "adapter" if artifact.adapter else "weights"
            what += " left in the workspace" if artifact.in_cloud else ""
            if not artifact.steps:  # the catalog's fine-tune tells neither
                return f"{what}, by job {artifact.job}"
            return f"{what}, {artifact.steps} steps, loss {artifact.loss_first:.3f} -> {artifact.loss_last:.3f}"
        case Scorecard():
            return _card(artifact)
        case Registered():
            where = " in the workspace" if artifact.asset else ""
            return f"{artifact.name} version {artifact.version} ({artifact.alias}){where}"
        case Endpoint():
            return f"{artifact.score_url}" + ("" if artifact.detached else " (until this run ends)")
        case Flow():
            return f"{artifact.question} -> {artifact.answer}" + (f" at {artifact.url}" if artifact.url else "")


def _card(card: Scorecard) -> str:
    told = f"held-out loss {card.loss_before:.3f} -> {card.loss_after:.3f}"
    if card.preferred_before is not None and card.preferred_after is not None:
        told += f", prefers the chosen answer {card.preferred_before:.0%} -> {card.preferred_after:.0%}"
    if card.exact_before is not None and card.exact_after is not None:
        told += f", exact answers {card.exact_before:.0%} -> {card.exact_after:.0%}"
    if card.verdict:
        told += f": {card.verdict}" + (f" (but worse: {card.worse.replace(',', ', ')})" if card.worse else "")
    return told


def _next_step(folder: Path) -> str:
    """Say from which folder a next training can start: the merged weights where an adapter was trained."""
    places = {str(StageName.train): "model", str(StageName.register): "merged"}
    made = [folder / "results" / name / places[name] for name in places if (folder / "results" / name).exists()]
    plain = [place for place in made if (place / "config.json").is_file()]
    return f"to train on from it: model=local model.path={shlex.quote(str(plain[-1]))}" if plain else ""


def values(artifacts: dict[StageName, Artifact]) -> dict[str, Any]:
    """Return the figures of a run for `run.json`."""
    found: dict[str, Any] = {}
    for artifact in artifacts.values():
        if isinstance(artifact, Scorecard):
            for name in ("loss_before", "loss_after", "perplexity_after", "exact_before", "exact_after"):
                found[name] = getattr(artifact, name)
            for name in ("verdict", "decided_by", "difference", "difference_low", "difference_high", "worse"):
                found[name] = getattr(artifact, name)
            if artifact.preferred_after is not None:
                found |= {"preferred_before": artifact.preferred_before, "preferred_after": artifact.preferred_after}
        elif isinstance(artifact, TrainedModel):
            found["train_loss"] = artifact.loss_last
        elif isinstance(artifact, Registered):
            found["model"] = f"{artifact.name}/{artifact.version}"
        elif isinstance(artifact, Flow):
            found |= {"question": artifact.question, "answer": artifact.answer}
    return found


def show(record: RunRecord, *, folder: Path) -> None:
    """Print the table of stages and where everything lies."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("stage", "status", "seconds", "why", "result"):
        table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for stage in record.stages:
        seconds = f"{stage.seconds:.1f}" if stage.status in {"done", "running"} else ""
        table.add_row(*(Text(cell) for cell in (stage.name, stage.status, seconds, stage.why, stage.summary)))
    _print(table)
    if told := _next_step(folder):
        _print(Text(told))
    if (folder / "report.html").is_file():
        _print(Text(f"report: {folder / 'report.html'}"))
    _print(Text(f"run folder: {folder}"))
