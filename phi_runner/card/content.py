"""The card itself, and its file.

`card.json` holds an object:

- `verdict`, `decided_by`, `words`: what the card says in one word, by which figure, and in a sentence
- `figures`: a list; each has `name`, `about`, `before`, `after`, `difference` with its bounds `low` and `high`, `rows`
  behind it, `unit` (`nats`, `share`, `perplexity` or `score`), `less_is_better`, `verdict` (`better`, `worse`,
  `no change` or `too few rows to tell`), `counts` (whether `evaluate.gate=not_worse` looks at it) and `note`; some have
  `after_low` and `after_high`, bounds of the value after training, or the `stderr_before` and `stderr_after` that the
  LM Evaluation Harness states. A number that is none (a diverged model's loss) is null
- `not_measured`: figures that make no sense here, by name, and why
- `loss_rose`, `now_wrong`: the worst rows of either kind, each with its texts; `loss_rose_rows`, `now_wrong_rows`: how
  many there are in all
- `probe`: where its text comes from and how many rows it has; null where nobody probed
- `judge`: null, or who judged, how many prompts, how many replies could not be read, and each prompt's outcome
- `confidence`, `resamples`, `seed` of the intervals; `held_out_rows`, `prompts`; `seconds` by model and part
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phi_runner.card.figures import Figure, Verdict
from phi_runner.store import write_json

CARD_FILE = "card.json"
ROWS_FILE = "held_out.jsonl"
"""One line for each held-out row, in the rows' order: nats and tokens before and after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything that was found out; the module says what each part is."""

    decided_by: str
    verdict: Verdict
    words: str
    figures: list[Figure]
    not_measured: dict[str, str]
    loss_rose: list[dict[str, Any]]
    loss_rose_rows: int
    now_wrong: list[dict[str, Any]]
    now_wrong_rows: int
    probe: dict[str, Any] | None
    judge: dict[str, Any] | None
    confidence: float
    resamples: int
    seed: int
    held_out_rows: int
    prompts: int
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    def figure(self, name: str) -> Figure | None:
        """Return a figure by its name, if it was measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


def write(card: Card, *, folder: Path) -> None:
    """Write `card.json`."""
    write_json(folder / CARD_FILE, _plain(asdict(card)))


def read(folder: Path) -> Card | None:
    """Return a folder's card; None where there is none that this version can read."""
    try:
        values = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        figures = [_figure(item) for item in values["figures"]]
        return Card(**values | {"figures": figures, "verdict": Verdict(values["verdict"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _figure(values: dict[str, Any]) -> Figure:
    numbers = ("before", "after", "difference", "low", "high")
    known = {name: math.nan if values[name] is None else values[name] for name in numbers}
    return Figure(**values | known | {"verdict": Verdict(values["verdict"])})


def _plain(value: Any) -> Any:
    """Return a value as every reader of JSON understands it: what is no number becomes null."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
