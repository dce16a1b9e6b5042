"""The tables at the end: what each stage did, and how the trials of a sweep compare."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Artifact, Dataset, Endpoint, Flow, Registered, Scorecard, TrainedModel, Workspace
from phi_runner.config.schema import StageName
from phi_runner.record import RunRecord
from phi_runner.store import write_json

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
            if artifact.preferred_after is not None:
                found |= {"preferred_before": artifact.preferred_before, "preferred_after": artifact.preferred_after}
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
    _print(Text(f"run folder: {folder}"))


def _trial(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"status": "not finished", "overrides": [], "values": {}, "seconds": 0.0, "error": ""}
    return found


def trials(folder: Path) -> None:
    """Print the trials of a sweep job that a stage has kept in `results.json`, if it came so far."""
    from rich.table import Table
    from rich.text import Text

    file = folder / "results.json"
    if not file.is_file():
        return
    table = Table()
    for column in ("trial", "overrides", "status", "loss after", "best"):
        table.add_column(column, overflow="fold")
    for name, trial in json.loads(file.read_text(encoding="utf-8")).items():
        loss, best = trial["values"].get("loss_after"), "best" if trial["values"].get("best") else ""
        status = trial["status"] + (f": {trial['error']}" if trial["error"] else "")
        shown = "" if loss is None else f"{loss:.3f}"
        table.add_row(*(Text(cell) for cell in (name, " ".join(trial["overrides"]), status, shown, best)))
    _print(table)


def sweep(folder: Path) -> bool:
    """Print one row per trial of a multirun, keep them in `results.json`, and say whether all of them ended well."""
    from rich.table import Table
    from rich.text import Text

    trials = sorted((item for item in folder.iterdir() if item.is_dir()), key=lambda item: (len(item.name), item.name))
    found = {item.name: _trial(item / "run.json") for item in trials}
    shared = set.intersection(*(set(trial["overrides"]) for trial in found.values())) if len(found) > 1 else set()
    table = Table(caption=f"all: {' '.join(sorted(shared))}" if shared else None)
    for column in ("trial", "overrides", "status", "loss before", "loss after", "exact after", "seconds"):
        table.add_column(column, overflow="fold")
    for name, trial in found.items():
        told = [trial["values"].get(key) for key in ("loss_before", "loss_after", "exact_after")]
        shown = ["" if value is None else f"{value:.3f}" for value in told]
        status = trial["status"] + (f": {trial['error']}" if trial["error"] else "")
        own = " ".join(override for override in trial["overrides"] if override not in shared)
        table.add_row(*(Text(cell) for cell in (name, own, status, *shown, f"{trial['seconds']:.1f}")))
    _print(table)
    _print(Text(f"sweep folder: {folder}"))
    kept = ("status", "overrides", "values", "seconds", "error")
    write_json(folder / "results.json", {name: {key: trial[key] for key in kept} for name, trial in found.items()})
    return all(trial["status"] == "done" for trial in found.values())
