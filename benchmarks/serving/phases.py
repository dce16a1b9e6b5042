"""What clients noticed of each change of an endpoint: as figures, and as a table with a line for each change."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.serving.constant import Answered
from benchmarks.table import Figure


@dataclass(slots=True, kw_only=True)
class Phase:
    """One change, from the command to its end."""

    name: str
    begun: float
    ended: float = 0.0
    back_s: float | None = None
    """From the fault, or the command to go back, until the version before had all the traffic."""
    said: str = ""
    answered: Sequence[Answered] = field(default_factory=list)

    @property
    def cut(self) -> list[Answered]:
        """Return the streams whose engine was killed when they had begun: nobody can go on with those."""
        return [one for one in self.answered if one.problem and one.stream and "engine_died" in one.problem]

    @property
    def failed(self) -> list[Answered]:
        """Return all other requests that failed."""
        cut = self.cut
        return [one for one in self.answered if one.problem and one not in cut]

    @property
    def times_s(self) -> list[float]:
        """Return how long the whole answers took."""
        return [one.seconds for one in self.answered if not one.problem]

    @property
    def versions(self) -> dict[str, int]:
        """Return how many answers came from each version of the model."""
        return dict(sorted(Counter(one.version for one in self.answered if one.version).items()))


def figures(phases: Sequence[Phase]) -> list[Figure]:
    """Return every quantity of every change."""
    found = []
    for phase in phases:
        counts = {
            "requests": len(phase.answered), "requests failed": len(phase.failed),
            "streams cut by a kill of their engine": len(phase.cut),
        }  # fmt: skip
        found += [Figure(name=phase.name, values=[count], unit=unit) for unit, count in counts.items()]
        found.append(Figure(name=phase.name, values=[phase.ended - phase.begun], unit="s, the command"))
        if phase.back_s is not None:
            found.append(Figure(name=phase.name, values=[phase.back_s], unit="s until all traffic was back"))
        found.append(Figure(name=phase.name, values=phase.times_s, unit="s to the whole answer", note="no answer"))
        for version, count in phase.versions.items():
            found.append(Figure(name=f"{phase.name}: {version}", values=[count], unit="requests by version"))
    return sorted(found, key=lambda figure: figure.unit)


def show(phases: Sequence[Phase], *, title: str) -> None:
    """Print a line for each change."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    table = Table("change", title=title, title_justify="left")
    for heading in ("requests", "failed", "streams cut", "command s", "all traffic back s", "answer s", "slowest s"):
        table.add_column(heading, justify="right")
    table.add_column("answers by version")
    for phase in phases:
        times = phase.times_s or [0.0]
        table.add_row(
            phase.name, str(len(phase.answered)), str(len(phase.failed)), str(len(phase.cut)),
            f"{phase.ended - phase.begun:.1f}", "-" if phase.back_s is None else f"{phase.back_s:.1f}",
            f"{statistics.median(times):.2f}", f"{max(times):.2f}",
            ", ".join(f"{version}: {count}" for version, count in phase.versions.items()),
        )  # fmt: skip
    console.print(table)
