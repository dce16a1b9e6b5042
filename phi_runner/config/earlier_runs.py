"""Runs that were made before, by folder or by name, for the stages `compare` and `reproduce`."""

from collections.abc import Iterator
from pathlib import Path

from phi_runner.config import typo
from phi_runner.config.schema import RunConfig, StageName

RECORD = "run.json"
REPEATED = (StageName.data, StageName.train, StageName.evaluate)
"""What `reproduce` repeats unless it is told otherwise: stages without effects outside the run's own folder."""
_TRACES = (RECORD, "config.yaml", ".hydra")
"""What a run leaves from its first moment on: one that was killed has at least the last of them."""


def folder_of(text: str, *, outputs: str | Path) -> Path | None:
    """Return the folder of a run that is named by path or by its name below `outputs`, a trial by `SWEEP/TRIAL`."""
    made = Path(outputs).expanduser().resolve()
    for place in (Path(text).expanduser(), made / "runs" / text, made / "sweeps" / text, made / text):
        if text and any((place / trace).exists() for trace in _TRACES):
            return place.resolve()
    return None


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what is wrong with the runs that a chosen stage looks at."""
    if StageName.compare in config.stages:
        if len(config.runs) < 2:
            yield f"stage compare needs two runs: type runs=[{_example(config, count=2)}]"
        yield from (_missing(text, config, key="runs") for text in config.runs if not _found(text, config))
    if StageName.reproduce in config.stages:
        if not config.run:
            yield f"stage reproduce needs an earlier run: type run={_example(config, count=1)}"
        elif not _found(config.run, config):
            yield _missing(config.run, config, key="run")
    for key, stage, typed in (("runs", StageName.compare, config.runs), ("run", StageName.reproduce, config.run)):
        if typed and stage not in config.stages:
            yield f"{key} is for the stage {stage}, which is not chosen: type +recipe={stage}"
    again = [stage for stage in config.reproduce.stages if stage in (StageName.compare, StageName.reproduce)]
    if again:
        yield f"reproduce.stages={again[0]} cannot be repeated: name stages of the earlier run, such as train"


def _found(text: str, config: RunConfig) -> bool:
    return folder_of(text, outputs=config.outputs) is not None


def _names(config: RunConfig) -> list[str]:
    """Return the runs of the outputs folder that have made or reused results, the newest first."""
    place = Path(config.outputs).expanduser() / "runs"
    found = [item for item in place.iterdir() if (item / "results").is_dir()] if place.is_dir() else []
    return [item.name for item in sorted(found, key=lambda item: item.stat().st_mtime, reverse=True)]


def _example(config: RunConfig, *, count: int) -> str:
    return ",".join([*_names(config)[:count], "RUN_FOLDER", "RUN_FOLDER"][:count])


def _missing(text: str, config: RunConfig, *, key: str) -> str:
    place = Path(config.outputs).expanduser()
    if Path(text).expanduser().is_dir():
        return f"{key}: {text} is no run folder: it holds no {RECORD}; name a folder of {place / 'runs'}"
    known = _names(config)
    near = typo.nearest(text, known)
    told = typo.did_you_mean(near) if near else (f"; the newest is {known[0]}" if known else "")
    return f"{key}: there is no run {text!r}, neither as a folder nor in {place / 'runs'}{told}"
