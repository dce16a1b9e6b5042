"""The trials of a sweep in order: ranks with ties, differences to the best, and everything that did not finish apart.

`leaderboard.json`: `sweep` (folder's name), `objective` {name, title, maximise}, `keys` (what was swept), `best` (id or
null), `counts` (by status), `trials` and `others` (of the folder, not asked for this time), each with `rank`
(null unless it finished), `id`, `number`, `values`, `status`, `objective`, `difference` (to the best), `low` and `high`
(interval of the objective by the before/after card, or null), `metrics`, `seconds`, `tries`, `reused`, `error`,
`curve` and `folder`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_runner.config.objectives import Objective
from phi_runner.sweep.trials import UNREADABLE, Trial

FILE = "leaderboard.json"
_LAST = ("pruned", "failed", "interrupted", "running")
"""Order of what has no rank; whatever else there is comes last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trial in its place."""

    trial: Trial
    value: float | None
    """The objective."""
    rank: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def status(self) -> str:
        """How it ended."""
        return self.trial.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """All trials of one sweep."""

    name: str
    objective: Objective
    rows: tuple[Row, ...]
    others: tuple[Row, ...] = ()

    @property
    def best(self) -> Row | None:
        """The first of the ranked trials; of equal ones the quickest."""
        return next((row for row in self.rows if row.rank == 1), None)

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The trials that finished and measured the objective."""
        return tuple(row for row in self.rows if row.rank is not None)

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys."""
        return tuple(dict.fromkeys(key for row in self.rows for key in row.trial.values))

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def ended_well(self) -> bool:
        """Whether every trial finished or was given up on purpose."""
        return all(row.status in {"done", "pruned"} for row in self.rows)

    def document(self) -> dict[str, Any]:
        """Return it as `leaderboard.json` has it."""
        objective = {"name": self.objective.name, "title": self.objective.title, "maximise": self.objective.maximise}
        return {
            "sweep": self.name, "objective": objective, "keys": list(self.keys),
            "best": self.best.trial.id if self.best else None, "counts": self.counts,
            "trials": [_row(row) for row in self.rows], "others": [_row(row) for row in self.others],
        }  # fmt: skip


def of(trials: Mapping[str, Trial], *, objective: Objective, name: str, asked: Collection[str] | None) -> Leaderboard:
    """Put trials in order; `asked` are the ids of this call's, None is all. A trial that left nothing is told too."""
    wanted = list(trials) if asked is None else list(dict.fromkeys(asked))
    mine = [trials.get(id) or Trial(id=id, folder=Path(name) / id, status=UNREADABLE) for id in wanted]
    rest = [trial for id, trial in trials.items() if id not in set(wanted)]
    rows = _ordered(mine, objective=objective)
    return Leaderboard(name=name, objective=objective, rows=rows, others=_ordered(rest, objective=objective))


def _ordered(trials: Iterable[Trial], *, objective: Objective) -> tuple[Row, ...]:
    rows = [_unranked(trial, objective=objective) for trial in trials]
    good = [row for row in rows if row.trial.finished and row.value is not None]
    good.sort(key=lambda row: ((-1 if objective.maximise else 1) * (row.value or 0.0), row.trial.seconds, row.trial.id))
    rest = [row for row in rows if row not in good]
    rest.sort(key=lambda row: (_LAST.index(row.status) if row.status in _LAST else len(_LAST), row.trial.number))
    return (*_ranked(good), *rest)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Give equal values equal ranks: 1, 2, 2, 4."""
    found: list[Row] = []
    for place, row in enumerate(rows, start=1):
        same = bool(found) and found[-1].value == row.value
        rank = found[-1].rank if same else place
        difference = (row.value or 0.0) - (rows[0].value or 0.0)
        found.append(
            Row(trial=row.trial, value=row.value, rank=rank, difference=difference, low=row.low, high=row.high)
        )
    return found


def _unranked(trial: Trial, *, objective: Objective) -> Row:
    value = objective.of(trial.metrics)
    low, high = _interval(trial.card, objective=objective)
    return Row(trial=trial, value=value, low=low, high=high)


def _interval(card: Mapping[str, Any], *, objective: Objective) -> tuple[float | None, float | None]:
    """Return the card's interval around a figure after the training, the figure before being taken as it is."""
    name = objective.name.removesuffix("_after")
    for figure in card.get("figures") or ():
        if isinstance(figure, dict) and figure.get("name") == name and figure.get("low") is not None:
            return figure["before"] + figure["low"], figure["before"] + figure["high"]
    return None, None


def _row(row: Row) -> dict[str, Any]:
    trial = row.trial
    return {
        "rank": row.rank, "id": trial.id, "number": trial.number, "values": trial.values, "status": trial.status,
        "objective": row.value, "difference": row.difference, "low": row.low, "high": row.high,
        "metrics": trial.metrics, "seconds": trial.seconds, "tries": trial.tries, "reused": list(trial.reused),
        "error": trial.error, "curve": [list(point) for point in trial.curve], "folder": trial.folder.name,
    }  # fmt: skip
