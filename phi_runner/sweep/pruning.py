"""Whether a trial that trains falls behind the finished ones; what they measured lies in their folders."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from phi_runner.config.schema import RunConfig, StageName
from phi_runner.search.pruning import falls_behind
from phi_runner.store import write_json

CURVE_FILE = "held_out.json"
"""Held-out losses of a trial while it trains, `[[percent of the training, loss], ...]`."""
_HISTORY = Path("results") / StageName.train / "history.json"

Curve = Sequence[tuple[int, float]]


def judge(config: RunConfig) -> Callable[[Curve], str]:
    """Return what a training of this config is to ask after each evaluation: why to give up, or nothing."""
    if not config.sweep.trial_folder:
        return lambda _curve: ""
    folder = Path(config.sweep.trial_folder)

    def told(own: Curve) -> str:
        write_json(folder / CURVE_FILE, [list(point) for point in own])
        return _reason(config, own, others=list(finished(folder))) if config.sweep.prune else ""

    return told


def _reason(config: RunConfig, own: Curve, *, others: Sequence[Curve]) -> str:
    settings = config.sweep
    behind = falls_behind(
        own, others, pruner=settings.pruner, startup=settings.prune_after_trials, warmup=settings.prune_after_percent
    )  # fmt: skip
    if not behind:
        return ""
    percent, loss = own[-1]
    group = "half" if settings.pruner == "median" else "three quarters"
    measured = f"held-out loss {loss:.3f} at {percent} % of the training"
    return f"{measured} is worse than that of {group} of the {len(others)} finished trials there"


def finished(folder: Path) -> Iterator[Curve]:
    """Yield the curves of the finished trials beside the one in `folder`."""
    for place in sorted(folder.parent.iterdir()):
        if place != folder and (found := curve(place)) and _done(place):
            yield found


def curve(folder: Path) -> list[tuple[int, float]]:
    """Return the held-out losses of a trial: those of the trained result, else what was written while it trained."""
    lines = _read(folder / _HISTORY)
    if lines:
        steps = max(int(line.get("step", 0)) for line in lines) or 1
        return [(round(100 * line["step"] / steps), float(line["eval_loss"])) for line in lines if "eval_loss" in line]
    return [(int(at), float(loss)) for at, loss in _read(folder / CURVE_FILE)]


def _done(folder: Path) -> bool:
    told = _read(folder / "trial.json")
    return isinstance(told, dict) and told.get("status") == "done"


def _read(file: Path) -> "list | dict":  # type: ignore[type-arg]  # whatever the file holds
    try:
        found: list | dict = json.loads(file.read_text(encoding="utf-8"))  # type: ignore[type-arg]
    except (OSError, ValueError):
        return []
    return found
