"""Make the plan of one run: decisions, effects, estimates and limits, from the config and the files that are here."""

from pathlib import Path

from phi_runner.artifacts import Dataset
from phi_runner.config import clouds
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.ledger import Ledger
from phi_runner.lookup import Lookup
from phi_runner.plan import cloud, cores, here, limits, taking_down, world
from phi_runner.plan.decide import Decisions
from phi_runner.plan.document import Effect, Plan
from phi_runner.plan.estimate import estimate
from phi_runner.store import Store


def made(
    config: RunConfig, *, overrides: list[str], recipe: str, hindrances: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Plan:  # fmt: skip
    """Return what the run would do; opens no socket, writes nothing, loads no heavy library.

    `hindrances` and `warnings` are what the checks have found; what the store lacks is added to the former.
    """
    outputs = Path(config.outputs).expanduser().resolve()
    store = Store(outputs / "store")
    lookup = Lookup(
        store=store, config=config, recipe=recipe, overrides=without_plan(overrides), stages=world.stages(),
        outputs=outputs,
    )  # fmt: skip
    decisions = Decisions(config=config, lookup=lookup).walk()
    dataset = decisions.artifacts.get(StageName.data)
    estimates = estimate(
        config, store=store, keys=decisions.keys, reused=decisions.reused,
        dataset=dataset if isinstance(dataset, Dataset) else None,
    )  # fmt: skip
    return Plan(
        recipe=recipe, overrides=tuple(without_plan(overrides)), outputs=outputs, stages=tuple(decisions.stages),
        effects=tuple(_effects(config, decisions, outputs=outputs)),
        cores=tuple(cores.needed(config, decisions.stages)), estimates=estimates,
        limits=limits.verdicts(config, estimates), problems=(*hindrances, *decisions.problems),
        warnings=warnings,
    )  # fmt: skip


def _effects(config: RunConfig, decisions: Decisions, *, outputs: Path) -> list[Effect]:
    ledger = Ledger(outputs).open()
    found = here.effects(config, decisions.stages, outputs=outputs)
    if clouds.needs_azure(config):
        found += cloud.effects(config, decisions.stages, ledger=ledger)
    if StageName.teardown in config.stages:
        found += taking_down.effects(config, ledger=ledger, outputs=outputs)
    return found


def without_plan(overrides: list[str]) -> list[str]:
    """Return what was typed for the run itself: a command that is told leads to a run."""
    return [text for text in overrides if text.lstrip("+").partition("=")[0] != "plan"]
