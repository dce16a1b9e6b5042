"""The account of every request: as many outcomes as were sent, by kind and by what was answered."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.serving.cases import BUSY, Case
from benchmarks.serving.visit import Outcome
from benchmarks.table import Figure

_REQUESTS = "requests"


@dataclass(slots=True)
class Ledger:
    """What was sent and what became of it."""

    sent: Counter[str] = field(default_factory=Counter)
    """By kind, counted before anything can go wrong."""
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and what became of it."""
    lost: int = 0
    leaked: int = 0
    wrong: int = 0
    unexpected: Counter[tuple[str, str]] = field(default_factory=Counter)

    def begin(self, case: Case) -> None:
        """Take note that a request is made."""
        self.sent[case.kind] += 1

    def end(self, case: Case, outcome: Outcome) -> None:
        """Take note of what became of it."""
        self.outcomes[outcome.kind, outcome.what] += 1
        self.lost += outcome.lost
        self.leaked += outcome.leaked
        self.wrong += outcome.wrong
        if outcome.status and outcome.status not in case.expected | BUSY:
            self.unexpected[outcome.kind, outcome.what] += 1

    @property
    def unaccounted(self) -> int:
        """Return how many requests have no outcome."""
        return self.sent.total() - self.outcomes.total()

    def totals(self) -> dict[str, int]:
        """Return what all kinds come to together, what must be 0 last."""
        found = Counter[str]()
        for (_kind, what), count in self.outcomes.items():
            found["lost" if what.startswith("lost") else what] += count
        named = {f"answered {what}" if what[0].isdigit() else what: count for what, count in sorted(found.items())}
        return {
            "sent": self.sent.total(), **{name: count for name, count in named.items() if name != "lost"},
            "lost": self.lost, "unaccounted for": self.unaccounted, "tokens for a wrong key": self.leaked,
            "another text than generate's": self.wrong, "a status that its kind may not get": self.unexpected.total(),
        }  # fmt: skip

    def figures(self) -> list[Figure]:
        """Return the totals, then every kind's outcomes."""
        found = [Figure(name=name, values=[count], unit=_REQUESTS) for name, count in self.totals().items()]
        for kind in sorted(self.sent):
            found.append(Figure(name=f"{kind}: sent", values=[self.sent[kind]], unit=_REQUESTS))
            for (owner, what), count in sorted(self.outcomes.items()):
                if owner == kind:
                    found.append(Figure(name=f"{kind}: {what}", values=[count], unit=_REQUESTS))
        return found

    def show(self) -> None:
        """Print a line for each kind, then the totals."""
        from rich.console import Console
        from rich.table import Table

        console = Console(width=None if Console().is_terminal else 160)
        table = Table("kind", "sent", "what became of it", title="requests", title_justify="left")
        for kind in sorted(self.sent):
            became = [f"{what}: {count}" for (owner, what), count in sorted(self.outcomes.items()) if owner == kind]
            odd = [f"NOT ALLOWED {what}: {count}" for (owner, what), count in self.unexpected.items() if owner == kind]
            table.add_row(kind, str(self.sent[kind]), ", ".join(became + odd))
        table.add_section()
        for name, count in self.totals().items():
            table.add_row(name, str(count), "")
        console.print(table)
