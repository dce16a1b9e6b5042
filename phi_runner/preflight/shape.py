"""Rows that stand out from the others: very long ones, and those with another system prompt or none."""

from collections import Counter

import numpy as np

from phi_runner.preflight.facts import Facts, said, system_of
from phi_runner.preflight.finding import Example, Finding, excerpt
from phi_runner.preflight.likeness import same_but_slips
from phi_runner.preflight.words import words

_LEAST_ROWS = 20
_TIMES = 8
"""A row is very long when it is this many times as long as the middle one, and far outside the spread of all."""
_DEVIATIONS = 6.0
_LEAST_SPREAD = 0.2
_PROMPTS = 20
"""The most frequent system prompts, which others are compared with."""
_COMPARED = 2_000
_RARE = 0.2
"""Of a prompt's rows: one that is used less often than this beside its likeness is taken for a slip."""


def outliers(facts: Facts, *, most: int) -> Finding:
    """Return the rows that are very much longer than the others, by the spread of their logarithms."""
    sizes = facts.column("characters").astype(np.float64)
    if len(sizes) < _LEAST_ROWS:
        return Finding(kind="outlier", count=0, of=len(sizes))
    logs = np.log(sizes + 1)
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    limit = max(np.exp(middle + _DEVIATIONS * spread), _TIMES * np.exp(middle))
    found = np.flatnonzero(sizes > limit)
    longest = found[np.argsort(-sizes[found], kind="stable")][:most]
    examples = []
    for position in longest:
        place, dialogue = facts.row(int(position))
        text = f"{int(sizes[position]):,} characters: {excerpt(said(dialogue))}"
        examples.append(Example(place=place, text=text))
    note = f"half of the rows have at most {int(np.exp(middle)):,} characters, these more than {int(limit):,}"
    return Finding(kind="outlier", count=len(found), of=len(sizes), examples=examples, note=note if len(found) else "")


def system_prompts(facts: Facts, *, most: int) -> Finding:
    """Return the rows without the system prompt that others have, and those whose prompt is almost another one."""
    systems = facts.column("systems")
    values, starts, counts = np.unique(systems, return_index=True, return_counts=True)
    used = {int(value): (int(start), int(count)) for value, start, count in zip(values, starts, counts, strict=True)}
    used.pop(0, None)
    without, having = np.flatnonzero(systems == 0), np.flatnonzero(systems)
    lacking = min(without, having, key=len)
    notes = [f"{len(without)} rows have none, {len(having)} have one"] if len(lacking) else []
    slips = _slips(facts, used)
    notes += [f"{len(slips)} prompts differ slightly from one that is used more often"] if slips else []
    examples = [
        _prompt(facts, int(position), beside=used[usual][0])
        for slip, usual in slips[:most] for position in np.flatnonzero(systems == np.uint64(slip))[:most]
    ]  # fmt: skip
    examples += [_prompt(facts, int(position)) for position in lacking[:most]]
    return Finding(
        kind="system_prompts", count=len(lacking) + sum(used[slip][1] for slip, _usual in slips), of=len(systems),
        examples=examples[:most], note="; ".join(notes),
    )  # fmt: skip


def _prompt(facts: Facts, position: int, *, beside: int | None = None) -> Example:
    place, dialogue = facts.row(position)
    text = excerpt(system_of(dialogue)) or "(no system prompt)"
    if beside is None:
        return Example(place=place, text=text)
    other_place, other = facts.row(beside)
    return Example(place=place, text=text, other_place=other_place, other=excerpt(system_of(other)))


def _slips(facts: Facts, used: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    """Return prompts that are almost, but not quite, a more frequent one, each with that one."""
    ranked = Counter({value: count for value, (_start, count) in used.items()}).most_common(_COMPARED)
    texts = {value: words(system_of(facts.row(used[value][0])[1])) for value, _count in ranked}
    found = []
    for place, (value, count) in enumerate(ranked):
        frequent = [other for other, often in ranked[: min(place, _PROMPTS)] if count < _RARE * often]
        usual = next((other for other in frequent if same_but_slips(texts[value], texts[other])), None)
        if usual is not None:
            found.append((value, usual))
    return found
