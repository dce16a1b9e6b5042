"""What several rows have in common and should not: a dialogue, a question, an answer, maybe across the split."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from phi_runner.preflight import groups
from phi_runner.preflight.facts import Facts, Said, said, stock
from phi_runner.preflight.finding import Example, Finding, excerpt
from phi_runner.preflight.likeness import alike, same_but_slips
from phi_runner.preflight.near import Near, Signatures, near
from phi_runner.preflight.words import words

_FEW, _MANY = 6, 20
"""Different questions with one answer: from `_FEW` on it may be boilerplate, from `_MANY` on it is."""
_SHARE = 0.005
"""Part of all rows that begin alike, below which it is no habit: most answers begin with ordinary words."""
_SAMPLED = 12
_TELLING = 4
"""Letters of a word that ties an answer to its question."""


def repeats(facts: Facts, signatures: Signatures, *, most: int) -> list[Finding]:
    """Return the findings about rows that repeat one another."""
    digests = facts.column("digests")
    distinct = groups.firsts(digests)
    found = near(facts, signatures, distinct=distinct)
    return [
        _duplicates(facts, most=most), _near_duplicates(facts, found, most=most), _leakage(facts, found, most=most),
        *_questions(facts, most=most), _stock(facts, "answers", kind="boilerplate", most=most),
        _stock(facts, "openings", kind="stock_openings", most=most),
    ]  # fmt: skip


def _duplicates(facts: Facts, *, most: int) -> Finding:
    """Count rows that were said before on their side of the split; those on the other side have leaked."""
    sided = facts.column("digests") ^ facts.column("held_out").astype(np.uint64)
    found = [(int(run[0]), int(place)) for run in groups.runs(sided) for place in run[1:]]
    return Finding(
        kind="exact_duplicates", count=len(found), of=len(facts), examples=_pairs(facts, found[:most]),
        note="the data stage keeps each once" if found else "",
    )  # fmt: skip


def _near_duplicates(facts: Facts, found: Near, *, most: int) -> Finding:
    """Count rows that another one on their side of the split already says; across it they are leaks."""
    held_out = facts.held_out
    beside = sorted((pair for pair in found.pairs if held_out[pair[0]] == held_out[pair[1]]), key=lambda pair: -pair[2])
    joined = groups.joined(pair[:2] for pair in beside)
    largest = max(map(len, joined), default=0)
    notes = [f"the largest group has {largest} rows"] if largest > 2 else []
    notes += [] if found.complete else ["there are more candidates than were compared, so this is a lower bound"]
    return Finding(
        kind="near_duplicates", count=sum(len(group) - 1 for group in joined), of=len(facts), note="; ".join(notes),
        examples=_pairs(facts, [pair[:2] for pair in beside[:most]]),
    )  # fmt: skip


def _leakage(facts: Facts, found: Near, *, most: int) -> Finding:
    """Count held-out rows that are learnt from too; word for word they were left out by the data stage."""
    held_out, digests = facts.column("held_out").astype(bool), facts.column("digests")
    exact = np.flatnonzero(held_out & np.isin(digests, digests[~held_out]))
    learnt, where = np.unique(np.where(held_out, np.uint64(0), digests), return_index=True)
    leaks = {int(place): int(where[np.searchsorted(learnt, digests[place])]) for place in exact}
    for group in groups.joined(pair[:2] for pair in found.pairs):
        learning = [place for place in group if not held_out[place]]
        leaks |= {place: learning[0] for place in group if learning and held_out[place] and place not in leaks}
    said = [f"{len(exact)} word for word, which the data stage has left out"] if len(exact) else []
    said += [f"{len(leaks) - len(exact)} in almost the same words"] if len(leaks) > len(exact) else []
    shown = [(learning, place) for place, learning in list(leaks.items())[:most]]
    return Finding(
        kind="leakage", count=len(leaks), of=int(held_out.sum()), examples=_pairs(facts, shown), note="; ".join(said)
    )


def _questions(facts: Facts, *, most: int) -> Iterator[Finding]:
    """Yield the findings about one question with several answers, within a side and across the split."""
    mixed = facts.column("questions") + facts.column("systems") * np.uint64(3)
    conflicts, shared, count = [], [], 0
    for run in groups.runs(mixed):
        others = _answered_otherwise(facts, run)
        if others:
            count += len(run)
            conflicts.append((int(run[0]), others[0]))
            shared += _across(facts, [int(run[0]), *others])
    yield Finding(
        kind="conflicting_answers", count=count, of=len(facts), examples=_pairs(facts, conflicts[:most]),
        note=f"{len(conflicts)} questions" if conflicts else "",
    )  # fmt: skip
    yield Finding(
        kind="shared_questions", count=len(shared), of=sum(facts.held_out), examples=_pairs(facts, shared[:most])
    )


def _answered_otherwise(facts: Facts, run: groups.Positions) -> list[int]:
    """Return one row for each answer that is another one than the first row's, slips aside."""
    replies = facts.column("replies")[run]
    different = run[groups.firsts(replies)][:_SAMPLED].tolist()
    if len(different) < 2:
        return []
    first, *others = (words(facts.row(place)[1][-1]["content"]) for place in different)
    told = zip(different[1:], others, strict=True)
    return [place for place, other in told if not (alike(first, other) or same_but_slips(first, other))]


def _across(facts: Facts, rows: list[int]) -> list[tuple[int, int]]:
    """Pair each held-out one of some rows with the first that is learnt from."""
    learnt = [place for place in rows if not facts.held_out[place]]
    return [(learnt[0], place) for place in rows if learnt and facts.held_out[place]]


def _stock(facts: Facts, column: str, *, kind: str, most: int) -> Finding:
    """Count rows whose answer, or its beginning, many different questions get."""
    rows, questions, answers = (facts.column(name) for name in ("answer_rows", "answered", "answers"))
    marked = np.zeros(len(facts), bool)
    found: list[tuple[int, list[int]]] = []
    for run in groups.runs(facts.column(column)):
        if column == "openings" and len(np.unique(answers[run])) < _FEW:
            continue  # the same answer throughout, which is the other finding
        chosen = run[groups.firsts(questions[run])]
        least = max(_FEW, _SHARE * len(facts)) if column == "openings" else _FEW
        if len(chosen) < least or (len(chosen) < _MANY and _fits(facts, chosen[:_SAMPLED])):
            continue
        marked[rows[run]] = True
        found.append((len(chosen), run[:most].tolist()))
    found.sort(key=lambda group: -group[0])
    note = f"{len(found)} such answers, the most frequent one for {found[0][0]} questions" if found else ""
    # the first of each group, then the others
    shown = [group[0] for _count, group in found] + [number for _count, group in found for number in group[1:]]
    return Finding(
        kind=kind, count=int(marked.sum()), of=len(facts), note=note,
        examples=[_stock_example(facts, number) for number in shown[:most]],
    )  # fmt: skip


def _stock_example(facts: Facts, number: int) -> Example:
    place, said = _said(facts, number)
    return Example(place=place, text=f"{excerpt(said.question)} → {excerpt(said.answer)}")


def _fits(facts: Facts, chosen: Iterable[int]) -> bool:
    """Say whether answers speak of what most of their questions ask: the same asked in other words is no fault."""
    fitting = []
    for number in chosen:
        said = _said(facts, int(number))[1]
        asked = {word for word in words(said.question) if len(word) >= _TELLING}
        fitting.append(not asked.isdisjoint(words(said.answer)))
    return sum(fitting) > len(fitting) / 2


def _said(facts: Facts, number: int) -> tuple[str, Said]:
    """Return the place of one of the answers that were kept, and the answer itself."""
    place, dialogue = facts.row(facts.answer_rows[number])
    return place, next(said for said in stock(dialogue) if said.whole == facts.answers[number])


def _pairs(facts: Facts, pairs: Sequence[tuple[int, int]]) -> list[Example]:
    examples = []
    for first, second in pairs:
        (place, one), (other_place, other) = facts.row(first), facts.row(second)
        at = _apart(said(one), said(other))
        examples.append(
            Example(
                place=place, text=excerpt(said(one), at=at), other_place=other_place, other=excerpt(said(other), at=at)
            )
        )
    return examples


def _apart(first: str, second: str) -> int:
    """Return where two texts begin to differ; their beginning where they do not."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), 0)
