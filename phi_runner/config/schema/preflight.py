"""What the data check looks for, and from which share on it warns or refuses."""

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Bound:
    """From which value on a finding is told, and from which it ends the run; empty: never."""

    warn: float | None = None
    refuse: float | None = None


@dataclass(kw_only=True, slots=True)
class PreflightConfig:
    """The check of the rows before anything is trained on them."""

    rows: int = 1_000_000
    """Rows that are looked at, from the top."""
    exact_duplicates: Bound = field(default_factory=lambda: Bound(warn=0.01))
    """Share of rows that were said before, word for word."""
