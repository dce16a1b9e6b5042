"""Scores of the LM Evaluation Harness, before and after, as figures."""

from collections.abc import Sequence
from statistics import NormalDist

from phi_runner.card.figures import Figure, Verdict, verdict_of
from phi_runner.card.harness import Score
from phi_runner.card.intervals import Chance, Interval, Ratio, of_differences, of_ratios


def of_tasks(before: Sequence[Score], after: Sequence[Score], *, chance: Chance) -> list[Figure]:
    """Return a figure for each metric that both models have."""
    late = {(score.task, score.metric): score for score in after}
    pairs = [(score, late[score.task, score.metric]) for score in before if (score.task, score.metric) in late]
    return [_figure(early, now, chance=chance) for early, now in pairs]


def _figure(before: Score, after: Score, *, chance: Chance) -> Figure:
    less = not before.higher_is_better
    unit = "share" if before.samples and _shares(before) and _shares(after) else "score"
    found, note = _interval(before, after, unit=unit, chance=chance)
    verdict = Verdict.too_few if found is None else verdict_of(found, rows=before.rows, unit=unit, less_is_better=less)
    shown = found or Interval(after.value - before.value, float("nan"), float("nan"))
    return Figure(
        name=f"{before.task}/{before.metric}", about=f"lm-eval {before.task}, {before.metric}", before=before.value,
        after=after.value, difference=after.value - before.value, low=shown.low, high=shown.high, rows=before.rows,
        unit=unit, less_is_better=less, verdict=verdict, note=note, stderr_before=before.stderr,
        stderr_after=after.stderr,
    )  # fmt: skip


def _shares(score: Score) -> bool:
    return all(0 <= value <= 1 for value in score.samples)


def _interval(before: Score, after: Score, *, unit: str, chance: Chance) -> tuple[Interval | None, str]:
    """Return the interval of the difference: paired where the rows are known, else from both standard errors."""
    if before.samples and len(before.samples) == len(after.samples):
        if unit == "share":
            return of_differences(
                [late - early for early, late in zip(before.samples, after.samples, strict=True)], chance=chance
            ), ""
        ones = [1.0] * len(before.samples)
        terms = [Ratio(sums=after.samples, counts=ones), Ratio(sums=before.samples, counts=ones, sign=-1.0)]
        return of_ratios(terms, chance=chance), ""
    if before.stderr is None or after.stderr is None:
        return None, "the harness states no standard error"
    half = NormalDist().inv_cdf((1 + chance.confidence) / 2) * (before.stderr**2 + after.stderr**2) ** 0.5
    difference = after.value - before.value
    return Interval(difference, difference - half, difference + half), "not paired: from the harness's standard errors"
