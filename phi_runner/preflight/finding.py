"""What the check has found: how often, of how many, and where to look."""

from dataclasses import dataclass, field
from typing import Any

from phi_runner.preflight.personal import masked

_BEFORE, _SHOWN = 60, 240
"""Characters of a text that are shown: those before the place that matters, and all."""
_ROUND = 200
"""Characters on either side that are read too, so that nothing personal is shown in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row that shows a finding; personal things in it are masked."""

    place: str
    text: str
    other_place: str = ""
    other: str = ""


@dataclass(slots=True, kw_only=True)
class Finding:
    """One kind of trouble: `count` of `of`."""

    kind: str
    count: int
    of: int
    examples: list[Example] = field(default_factory=list)
    note: str = ""
    """What else is known of it, in a sentence."""

    @property
    def share(self) -> float:
        """Part of all, 0 where there is nothing to find it in."""
        return self.count / self.of if self.of else 0.0

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Finding":
        """Return what `dataclasses.asdict` made a dictionary of."""
        return cls(**{**values, "examples": [Example(**one) for one in values["examples"]]})


@dataclass(slots=True)
class Tally:
    """Findings of single rows while the rows go by: all are counted, the first few are kept."""

    most: int
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, kind: str, *, place: str, text: str, at: int = 0) -> None:
        """Count a row; `at` is where in its text the trouble begins."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.most:
            kept.append(Example(place=place, text=excerpt(text, at=at)))

    def finding(self, kind: str, *, of: int) -> Finding:
        """Return what was found of a kind among `of` rows."""
        return Finding(kind=kind, count=self.counts.get(kind, 0), of=of, examples=self.examples.get(kind, []))


def excerpt(text: str, *, at: int = 0) -> str:
    """Return the part of a text around a place, masked, its blanks made one and its control characters visible."""
    begin = max(0, at - _BEFORE)
    start = max(0, begin - _ROUND)
    piece = text[start : begin + _SHOWN + _ROUND]
    shown = " ".join(masked(piece, begin=begin - start, end=begin - start + _SHOWN).split())
    seen = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
    return ("…" if begin else "") + seen + ("…" if begin + _SHOWN < len(text) else "")
