"""Hold the whole command line against what there is, before Hydra runs and before anything is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from phi_runner.config import (
    apply,
    hydra,
    launchers,
    optuna_sweeper,
    places,
    planning,
    search_space,
    sweep_job,
    sweeping,
    syntax,
    trials,
)
from phi_runner.config.check import check, warnings
from phi_runner.config.composed import Composer, Picked, hydra_problem, task
from phi_runner.config.flags import CommandLine
from phi_runner.config.load import load
from phi_runner.config.plan_mode import Mode
from phi_runner.config.planning import Asked
from phi_runner.config.spelling import Spelling
from phi_runner.config.sweep_job import SweepJob
from phi_runner.config.sweeping import Sweeping
from phi_runner.config.typed import Sweep, Typed
from phi_runner.config.vocabulary import RECIPE, Vocabulary, vocabulary
from phi_runner.errors import ConfigProblem, UsageProblem

_CORE = "hydra._internal."
"""Where Hydra's own sweeper lies; it takes lists alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is known of a command line that may run."""

    multirun: bool
    folder: Path
    """Where the run, or all trials of a sweep, would go; the current folder where nothing runs."""
    warnings: tuple[str, ...] = ()
    plan: Mode = Mode.no
    """Whether runs are to be planned and none is to be made."""
    asked: tuple[Asked, ...] = ()
    """The runs to plan."""
    trials: int = 1
    """How many there are, of which `asked` may hold the first ones."""
    sweep_job: SweepJob | None = None
    """Set where the workspace makes the trials, in one job, rather than Hydra."""
    sweeping: Sweeping | None = None
    """Set where Hydra makes the trials."""


def precheck(line: CommandLine) -> Checked:
    """Return what will run; raises UsageProblem or ConfigProblem, in one line, for whatever is wrong."""
    hydra.register()
    if line.config_dir and not line.config_dir.is_dir():
        raise UsageProblem(f"--config-dir {line.config_dir} is no folder: type the folder that holds your presets")
    words = vocabulary(line.config_dir)
    everything = _read(line, words)
    ours = [item for item in everything if not item.about_hydra]
    about_hydra = [item for item in everything if item.about_hydra]
    _refuse(Spelling(words=words, chosen=_chosen(ours)).problems(ours))
    if not line.runs and all(item.key in words.groups and item.sweep is Sweep.none for item in everything):
        return Checked(multirun=False, folder=Path())  # Hydra composes it once more, and nothing is left to find
    options = [item for item in about_hydra if "/" in item.key]  # a launcher or sweeper brings settings of its own
    composer = Composer(words, extra=line.config_dir, about_hydra=options)
    first = composer.base(_first(ours))
    if about_hydra:
        _refuse(hydra_problem(first.hydra, item) for item in about_hydra)
        composer = Composer(words, extra=line.config_dir, about_hydra=about_hydra)
        first = composer.base(_first(ours))
    multirun = line.multirun or str(first.hydra.mode).endswith("MULTIRUN")
    optimiser = multirun and not str(first.hydra.sweeper.get("_target_")).startswith(_CORE)
    _refuse(
        trials.problem(item, words, line=line, multirun=multirun, optimiser=optimiser) for item in everything
    )  # fmt: skip
    _refuse([launchers.problem(str(first.hydra.runtime.choices[launchers.GROUP]), multirun=multirun or not line.runs)])
    brought = _from_recipe(first, ours, words) if multirun else []
    _refuse(Spelling(words=words, chosen=_chosen(ours)).problems(brought))
    if optimiser and optuna_sweeper.is_ours(first.hydra.sweeper):
        swept = [item.text for item in [*brought, *ours] if item.sweep is not Sweep.none]
        _refuse(search_space.problems(swept, settings=first.hydra.sweeper))
    if line.runs and (plan := planning.mode(first, ours)) is not Mode.no:
        searched = int(first.hydra.sweeper.get("n_trials") or 0) if optimiser else 0
        checked = _to_plan([*brought, *ours], composer=composer, multirun=multirun, searched=searched)
        return replace(checked, plan=plan)
    checked = _rehearsed(composer, [*brought, *ours], line=line, multirun=multirun)
    if checked.multirun:
        _refuse(map(sweeping.hydra_problem, about_hydra))
        found = sweeping.of([*brought, *ours], hydra=first.hydra, config_dir=line.config_dir)
        return replace(checked, sweeping=found, folder=found.folder(checked.folder, typed=about_hydra))
    if not checked.sweep_job:
        return checked
    _refuse(map(sweep_job.hydra_problem, about_hydra))
    return replace(checked, sweep_job=sweep_job.of([*brought, *ours], brought=brought))


def _to_plan(items: Sequence[Typed], *, composer: Composer, multirun: bool, searched: int) -> Checked:
    """Compose every run that is to be planned; of a search, which chooses its trials as it goes, the first one."""
    asked = planning.asked(composer, items, multirun=multirun, most=1 if searched else planning.MOST)
    _refuse(sweep_job.problems(asked[0].config, items, multirun=multirun) if not asked[0].config.sweep.grid else ())
    said = dict.fromkeys(warning for one in asked for warning in one.warnings)
    trials = 1 if asked[0].config.sweep.grid else searched or planning.count(items)
    return Checked(multirun=multirun, folder=Path(), warnings=tuple(said), asked=asked, trials=trials)


def _rehearsed(composer: Composer, ours: Sequence[Typed], *, line: CommandLine, multirun: bool) -> Checked:
    """Compose every trial and, where stages will run, check its values."""
    said: list[str] = []
    job = None
    for picked in trials.trials(ours):
        node = composer.trial(picked)
        with hydra.as_job(node):
            if line.runs:
                config = load(task(node), choices=apply.choices(node))
                check(config, multirun=multirun)
                _refuse(sweep_job.problems(config, ours, multirun=multirun))
                job = sweep_job.of(ours, brought=()) if config.azure.sweep else None
                said += [warning for warning in warnings(config) if warning not in said]
            by_hydra = multirun and not job
            folder = Path(node.hydra.sweep.dir if by_hydra else node.hydra.run.dir).expanduser()  # as the runner does
    return Checked(multirun=by_hydra, folder=folder, warnings=tuple(said), sweep_job=job)


def _read(line: CommandLine, words: Vocabulary) -> list[Typed]:
    """Parse all overrides; raises UsageProblem naming every word that cannot be read."""
    parsed = [hydra.parse(text, words) for text in line.overrides]
    readable = [item for item in parsed if item]
    unread = [text for text, item in zip(line.overrides, parsed, strict=True) if item is None]
    spelling = Spelling(words=words, chosen=_chosen(readable))
    problems = [syntax.unknown_flag(flag, value, spelling) for flag, value in line.unknown.items()]
    problems += syntax.problems(line.overrides, unread, spelling)
    if problems:
        raise UsageProblem("; ".join(problems))
    return readable


def _chosen(overrides: Iterable[Typed]) -> dict[str, str]:
    """Return the option of each group as far as the words tell."""
    typed = {item.key: str(item.values[0]) for item in overrides if item.values}
    return places.chosen(typed.get(RECIPE, "")) | {key: value for key, value in typed.items() if "." not in key}


def _first(overrides: Sequence[Typed]) -> Picked:
    return next(trials.trials(overrides))


def _from_recipe(first: DictConfig, ours: Sequence[Typed], words: Vocabulary) -> list[Typed]:
    """Return the sweep that a recipe brings along, less what the command line says itself."""
    if any(item.key == RECIPE and item.sweep is not Sweep.none for item in ours):
        return []  # Hydra asks the recipe of the whole sweep, and here each trial has its own
    typed = {item.key for item in ours}
    swept = dict(first.hydra.sweeper.get("params") or {})
    texts = [f"{key}={value}" for key, value in swept.items() if key not in typed]
    parsed = {text: hydra.parse(text, words) for text in texts}
    _refuse(f"hydra.sweeper.params: cannot read {text!r}" for text, item in parsed.items() if item is None)
    return [item for item in parsed.values() if item]


def _refuse(problems: Iterable[str]) -> None:
    told = [problem for problem in problems if problem]
    if told:
        raise ConfigProblem("; ".join(told))
