"""What was typed, and what is different from the recipe as it is shipped."""

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from phi_runner.config import places
from phi_runner.config.recipe_values import flattened, of_recipe
from phi_runner.config.schema import SCHEMAS
from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.report.run_folder import RunFolder, text

_MOST = 40
_PLACES = ("outputs", "plan")
"""Where results go and whether it was only planned: no setting of the result."""
Row = tuple[str, str | None, str | None]
"""Path of a setting with its value on either side; None where that side has no such setting."""


def typed(run: RunFolder) -> list[str]:
    """Return the overrides as they were typed."""
    found = run.record.get("overrides")
    return [str(item) for item in found] if isinstance(found, list) else []


def options(run: RunFolder) -> dict[str, str]:
    """Return the preset of each group that was typed: `{'data': 'jsonl'}`."""
    pairs = (item.lstrip("+~").partition("=") for item in typed(run))
    return {key: value for key, _equals, value in pairs if key in SCHEMAS}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[Row]:
    """Return each setting that differs; where results go is none."""
    names = sorted({*before, *after} - {*_PLACES})
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def value(found: str | None) -> str:
    """Return a setting's value for a table; what is unset or empty is said."""
    return "(not there)" if found is None else "(empty)" if found in ("", "None") else found


def section(run: RunFolder) -> Section | None:
    """Return the command and the settings that differ from the recipe's."""
    command = text(run.record, "command")
    if not command and not run.config:
        return None
    body = pieces.join(
        pieces.paragraph("Typed:") if command else None,
        pieces.code(command) if command else None,
        _against_recipe(run) if run.config else None,
        _everything(run),
    )
    return Section(id="settings", title="Settings", body=body)


def _against_recipe(run: RunFolder) -> Markup:
    recipe, chosen = text(run.record, "recipe"), options(run)
    base = of_recipe(recipe, options=tuple(f"{group}={option}" for group, option in chosen.items()))
    name = f"recipe {recipe}" if recipe else "the presets"
    if base is None:
        told = f"The {name} cannot be composed by this version alone: no comparison."
        return pieces.paragraph(told, note=True)
    after = flattened(run.config)
    before = {path: old for path, old in base.items() if path in after}
    found = [*_groups(recipe, chosen), *changed(before, after)]
    if not found:
        return pieces.paragraph(f"Every setting is that of {name}.")
    rows = [[pieces.word(path), value(old), value(new), _source(path, typed(run))] for path, old, new in found]
    table = pieces.table(["setting", name, "this run", "by"], rows, stack=True)
    told = f"{len(rows)} {'choice differs' if len(rows) == 1 else 'choices differ'} from {name}"
    return pieces.join(pieces.paragraph(f"{told}:"), table) if len(rows) <= _MOST else pieces.folded(told, body=table)


def _groups(recipe: str, chosen: Mapping[str, str]) -> Iterator[Row]:
    """Yield the groups whose preset was typed; the settings below are compared with that preset's own."""
    before = places.chosen(recipe)
    for group, option in chosen.items():
        if before.get(group) != option:
            yield group, before.get(group), option


def _source(path: str, overrides: list[str]) -> str:
    """Return the override that set a path: the setting itself, or a table or group above it."""
    keys = {item.lstrip("+~").partition("=")[0].partition("@")[0]: item for item in overrides}
    return max((item for key, item in keys.items() if f"{path}.".startswith(f"{key}.")), key=len, default="")


def _everything(run: RunFolder) -> Markup | None:
    if not run.config:
        return None
    rows = [[pieces.word(path), value(found)] for path, found in flattened(run.config).items()]
    return pieces.folded(f"All {len(rows)} settings", body=pieces.table(["setting", "value"], rows), printed=False)
