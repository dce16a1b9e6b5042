"""How every benchmark tells what it measured: a table for people, and `--json FILE` with one object a figure."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity, once a round."""

    name: str
    """What was measured; within a unit, names differ."""
    values: Sequence[float]
    """One a round; none where nothing could be measured, and `note` then says why."""
    unit: str
    ratio_to: str = ""
    """Name of the figure of the same unit that this one is divided by."""
    note: str = ""


def show(figures: Sequence[Figure], *, title: str, file: Path | None = None) -> None:
    """Print one table a unit, and write the same figures to `file`."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    rows = objects(figures)
    for unit in dict.fromkeys(figure.unit for figure in figures):
        table = Table("name", title=f"{title}: {unit}", title_justify="left")
        for heading in ("median", "min", "max", "ratio"):
            table.add_column(heading, justify="right")
        for heading in ("to", "note"):
            table.add_column(heading)
        for figure, row in zip(figures, rows, strict=True):
            if figure.unit == unit:
                numbers = [_number(row[key]) for key in ("median", "min", "max", "ratio")]
                table.add_row(figure.name, *numbers, figure.ratio_to, figure.note)
        console.print(table)
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def objects(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return a figure's `name`, `median`, `min`, `max`, `unit`, `ratio_to` and `ratio` (of the medians), or null."""
    medians = {
        (figure.name, figure.unit): statistics.median(figure.values) if figure.values else None for figure in figures
    }
    return [
        {
            "name": f"{figure.name} ({figure.note})" if not figure.values else figure.name,
            "median": medians[figure.name, figure.unit],
            "min": min(figure.values, default=None),
            "max": max(figure.values, default=None),
            "unit": figure.unit,
            "ratio_to": figure.ratio_to or None,
            "ratio": _ratio(medians[figure.name, figure.unit], medians.get((figure.ratio_to, figure.unit))),
        }
        for figure in figures
    ]


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
