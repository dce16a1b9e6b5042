"""The best trial as a recipe: `best.yaml`, to be copied into `recipes/`, or into `recipe/` of a --config-dir."""

from pathlib import Path
from typing import Any

import yaml

from phi_runner.config.found_recipe import recipe
from phi_runner.sweep.leaderboard import Leaderboard
from phi_runner.sweep.trials import Trial, in_words

FILE = "best.yaml"


def write(board: Leaderboard, *, folder: Path) -> Path | None:
    """Write the recipe of the best trial and return its file; None where no trial has come so far.

    Raises ConfigProblem where the presets that the trial chose are gone.
    """
    best = board.best
    file = folder / FILE
    if best is None or best.value is None:
        file.unlink(missing_ok=True)  # an earlier call's: its best may have been made anew and lost since
        return None
    about = f"best of {len(board.rows)} trials of {board.name}: {board.objective.title} {best.value:.4f}"
    notes = [f"found by the sweep: {in_words(best.trial.values)}"] if best.trial.values else []
    text = recipe(
        config_of(best.trial), overrides=best.trial.overrides, extra=presets_of(folder), about=about, notes=notes
    )  # fmt: skip
    file.write_text(text, encoding="utf-8")
    return file


def config_of(trial: Trial) -> dict[str, Any]:
    """Return a trial's resolved config; raises OSError where it is gone."""
    found: dict[str, Any] = yaml.safe_load((trial.folder / "config.yaml").read_text(encoding="utf-8"))
    return found


def presets_of(folder: Path) -> Path | None:
    """Return the folder that a sweep was given with --config-dir."""
    try:
        told = yaml.safe_load((folder / "multirun.yaml").read_text(encoding="utf-8"))
        sources = told["hydra"]["runtime"]["config_sources"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    typed = [source["path"] for source in sources if source.get("provider") == "command-line"]
    return Path(typed[0]) if typed else None
