"""The tables of the reference: recipes, presets, stages, Azure's machine sizes, exit codes."""

from collections.abc import Iterable

from phi_runner import errors
from phi_runner.config import prices, vm_sizes
from phi_runner.stages import STAGES
from scripts.docs import docstrings, presets
from scripts.docs.presets import Preset


def recipes() -> str:
    """Return a row for each recipe."""
    return _table(("recipe", "what it does", "chooses"), map(_recipe_row, presets.recipes()))


def stages() -> str:
    """Return a row for each stage."""
    return _table(("stage", "what it does"), ((f"`{stage.name}`", stage.about) for stage in STAGES))


def _recipe_row(recipe: Preset) -> tuple[str, ...]:
    return f"`+recipe={recipe.name}`", recipe.about, _codes((*recipe.chooses, *recipe.sets))


def of_presets(group: str) -> str:
    """Return a row for each preset of a group."""
    rows = (
        (f"`{group}={preset.name}`", preset.about, _codes((*preset.chooses, *preset.sets)))
        for preset in presets.of(group)
    )
    return _table(("preset", "what it is", "sets"), rows)


def _codes(words: Iterable[str]) -> str:
    return "<br>".join(f"`{word}`" for word in words)


def sizes_about() -> str:
    """Say what the prices are, and of when."""
    told = prices.table()
    return (
        f"For `compute.vm_size` and `deploy.instance_type`. Prices are list prices for Linux in {told.region}, "
        f"pay as you go, as of {told.as_of}: good for orders of magnitude."
    )


def sizes() -> str:
    """Return a row for each machine size that is known."""
    usd = prices.table()
    rows = (
        (
            f"`{size.name}`", f"{size.cores}", f"{size.memory_gib:g} GiB",
            f"{size.gpus} x {size.gpu}, {size.gpu_memory_gib:g} GiB" if size.gpus else "",
            size.quota_name, f"retired on {size.retired}" if size.retired else f"{usd.of(size.name) or 'not known'}",
        )
        for size in vm_sizes.SIZES.values()
    )  # fmt: skip
    return _table(("size", "cores", "memory", "GPUs", "quota family", "USD an hour"), rows)


def exit_codes() -> str:
    """Return a row for each error that a run may end with."""
    known = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PhiRunnerError)
    ]
    return _table(
        ("error", "code", "means"), ((f"`{kind.__name__}`", str(kind.exit_code), docstrings.of(kind)) for kind in known)
    )


def _table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, tuple("---" for _name in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
