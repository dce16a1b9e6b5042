"""The configuration reference as one Markdown page, made from the schemas, conf/, recipes/ and the stages.

It is made whenever the site is built and never committed: nothing has to be remembered, and nothing can be stale.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import get_type_hints

from phi_runner.config import places
from phi_runner.config.schema import SCHEMAS, RunConfig
from scripts.docs import docstrings, presets, tables
from scripts.docs.fields import Setting, own

_INTRO = """\
---
search: {boost: 4}
---
# Configuration

Everything that may be typed behind `python -m phi_runner`. This page is made from the code when the site is built:
the text below a setting is the one that stands below the field in `phi_runner/config/schema/`.

- `group=option` chooses a [preset](#data), `group.setting=value` changes one setting of it, `+recipe=name` begins from
  a [recipe](#recipes).
- A setting belongs to the kinds of its group under which it is listed. Typed with another kind it is refused, with the
  option that has it.
- `python -m phi_runner +recipe=full --cfg job --resolve` shows every value of one run, `--info defaults` where each
  option comes from.
"""
_CODE = re.compile(r"`([\w.]+)`")


class _Page:
    """Collects blocks of Markdown and hands out each anchor once."""

    def __init__(self) -> None:
        self.blocks = [_INTRO]
        self._anchors: set[str] = set()

    def add(self, *blocks: str) -> None:
        self.blocks += blocks

    def anchor(self, wanted: str) -> str:
        """Return the wanted anchor, with the number of its occurrence where several kinds have the setting."""
        names = (wanted, *(f"{wanted}-{number}" for number in range(2, 100)))
        name = next(name for name in names if name not in self._anchors)
        self._anchors.add(name)
        return name

    def text(self) -> str:
        """Return the page; what stands in backticks and is a setting's name leads there."""
        head, *rest = self.blocks
        return "\n\n".join([head, *(self._linked(block) for block in rest)]) + "\n"

    def _linked(self, block: str) -> str:
        def link(found: "re.Match[str]") -> str:
            known = "." in found[1] and found[1] in self._anchors
            return f"[{found[0]}](#{found[1]})" if known else found[0]

        lines = block.split("\n")
        return "\n".join(line if line.startswith("`") else _CODE.sub(link, line) for line in lines)


def page() -> str:
    """Return the whole page."""
    made = _Page()
    made.add("## Recipes", tables.recipes())
    made.add("## Stages", "Always performed in this order, whatever the order in `stages=[...]`.")
    made.add(tables.stages())
    for group in SCHEMAS:
        _group(made, group)
    for name, hint in _sections():
        made.add(f"## {name} {{ #{name} }}", docstrings.of(hint))
        _settings(made, own(hint, prefix=f"{name}."))
    made.add("## The run itself", docstrings.of(RunConfig))
    _settings(made, _of_the_run())
    for group in presets.hydra_groups():
        made.add(f"## {group}", tables.of_presets(group))
    made.add("## Azure's machine sizes { #sizes }", tables.sizes_about(), tables.sizes())
    made.add("## Exit codes", "0 is success; 130 and 143 are an interruption by Ctrl-C and by SIGTERM.")
    made.add(tables.exit_codes())
    return made.text()


def _group(made: _Page, group: str) -> None:
    kinds = SCHEMAS[group]
    base = next(iter(kinds.values())).__mro__[-2]
    default = presets.defaults()[group]
    made.add(f"## {group} {{ #{group} }}", f"{docstrings.of(base)} Without a recipe: `{group}={default}`.")
    made.add(tables.of_presets(group))
    shared = list(own(base, prefix=f"{group}."))
    if shared:
        made.add(f"### Every {group} {{ #{group}-every }}")
        _settings(made, shared)
    for kind, schema in kinds.items():
        _kind(made, group, kind=kind, schema=schema, base=base)


def _kind(made: _Page, group: str, *, kind: str, schema: type, base: type) -> None:
    names = [preset.name for preset in presets.of(group) if places.presets(group)[preset.name].kind == kind]
    typed = ", ".join(f"`{group}={name}`" for name in names)
    made.add(f"### {typed or kind} {{ #{group}-{kind} }}", docstrings.of(schema))
    for parent in schema.__mro__[1:]:
        title = next((name for name, other in SCHEMAS[group].items() if other is parent), "")
        if title or parent is base:
            break
        _settings(made, own(parent, prefix=f"{group}."))
    if title:
        made.add(f"It has the settings of [{title}](#{group}-{title}) too.")
    _settings(made, own(schema, prefix=f"{group}."))


def _settings(made: _Page, settings: Iterable[Setting]) -> None:
    blocks = [_entry(setting, anchor=made.anchor(setting.path)) for setting in settings]
    if blocks:
        made.add("\n\n".join(blocks))


def _entry(setting: Setting, *, anchor: str) -> str:
    """Return a setting as a definition: its name, what it is, what it may be."""
    default = f"default {setting.default}" if setting.default else "**has to be typed**"
    lines = [f"`{setting.path}` {{ #{anchor} }}", f":   {setting.kind}; {default}"]
    if setting.about:
        lines += ["", f"    {setting.about}"]
    if setting.choices:
        lines += ["", *(f"    - `{name}`{f': {about}' if about else ''}" for name, about in setting.choices)]
    return "\n".join(lines)


def _sections() -> Iterator[tuple[str, type]]:
    """Yield the parts of a run that have settings but no presets to choose from."""
    hints = get_type_hints(RunConfig)
    for item in fields(RunConfig):
        if item.name not in SCHEMAS and hasattr(hints[item.name], "__dataclass_fields__"):
            yield item.name, hints[item.name]


def _of_the_run() -> Iterator[Setting]:
    tables = (*SCHEMAS, *(name for name, _hint in _sections()))
    return (setting for setting in own(RunConfig, prefix="") if setting.path.partition(".")[0] not in tables)


if __name__ == "__main__":
    print(page())
