"""What a check comes to, as it is kept: the scan of the rows and the count of their tokens."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from phi_runner.config.schema import RunConfig
from phi_runner.config.streaming import STEPS
from phi_runner.preflight.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the rows are like."""

    rows: int
    usable: int
    held_out: int
    formats: dict[str, str]
    findings: list[Finding]
    turns: dict[str, int] = field(default_factory=dict)
    """How many dialogues have so many turns, the system's left out."""

    def values(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Scan":
        """Return what `values` gave."""
        return cls(**{**values, "findings": [Finding.read(one) for one in values["findings"]]})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Tokens of the rows to learn from; all numbers are of the `counted` rows."""

    tokenizer: str
    estimated: bool
    """The tokenizer is not here, and bytes were counted instead."""
    counted: int
    rows: int
    """Rows to learn from; 0: nobody knows how many a stream has."""
    whole: int
    taught: int
    kept: int
    kept_taught: int
    shortened: int
    dropped: int
    packed: int
    """Rows that train together as one, where rows are packed; else the rows that are kept."""
    dialogues: dict[str, Any]
    """Spread of the lengths of dialogues: percentiles and bars."""
    answers: dict[str, Any]

    def values(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)

    def steps(self, config: RunConfig) -> int:
        """Return the optimiser steps of the whole training; 0 where that is not known."""
        asked = config.train.extra.get(STEPS)
        if isinstance(asked, int) and asked > 0:
            return asked
        if not self.rows or not self.counted:
            return 0
        rows = self.packed * self.rows / self.counted
        return math.ceil(rows / (config.train.batch_size * config.train.accumulation_steps)) * config.train.epochs
