"""What got worse, row by row, with the texts: where the loss rose most, and what was right and is wrong now."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from phi_runner.model.measure import Losses
from phi_runner.model.tokens import IGNORED, TokenRows

_MOST = 5
_MOST_CHARACTERS = 600


class Worst(NamedTuple):
    """The worst rows, and how many there are in all."""

    rows: list[dict[str, Any]]
    total: int


def loss_rose(before: Losses, after: Losses, *, rows: TokenRows, tokenizer: Any) -> Worst:
    """Return the rows whose loss per token rose most."""
    each = zip(before.sums, before.tokens, after.sums, after.tokens, strict=True)
    means = [(early / tokens, late / others) for early, tokens, late, others in each]
    rose = sorted((row for row, (early, late) in enumerate(means) if late > early), key=lambda row: -_rise(means[row]))
    told = []
    for row in rose[:_MOST]:
        question, answer = _texts(rows, row, tokenizer=tokenizer)
        told.append(
            {
                "row": row,
                "question": question,
                "answer": answer,
                "loss_before": means[row][0],
                "loss_after": means[row][1],
            }
        )
    return Worst(told, len(rose))


def _rise(means: tuple[float, float]) -> float:
    return means[1] - means[0]


def _texts(rows: TokenRows, row: int, *, tokenizer: Any) -> tuple[str, str]:
    """Return the text of a row before its last answer, and that answer, both cut: its tokens are what was measured."""
    read = rows.dataset[row]
    ids, labels = read["input_ids"], read["labels"]
    end = max(place for place, label in enumerate(labels) if label != IGNORED) + 1
    begin = end
    while begin and labels[begin - 1] != IGNORED:
        begin -= 1
    question = tokenizer.decode(ids[:begin], skip_special_tokens=True).strip()
    return question[-_MOST_CHARACTERS:], tokenizer.decode(ids[begin:end], skip_special_tokens=True)[:_MOST_CHARACTERS]


def now_wrong(table: Sequence[Mapping[str, Any]]) -> Worst:
    """Return the prompts that were answered as the data does before, and no longer are."""
    found = [
        {
            "row": row,
            "question": str(line["messages"][-1]["content"])[-_MOST_CHARACTERS:],
            **{name: str(line[name])[:_MOST_CHARACTERS] for name in ("wanted", "before", "after")},
        }
        for row, line in enumerate(table)
        if line["comparable"] and line["before"].strip() == line["wanted"].strip() != line["after"].strip()
    ]
    return Worst(found[:_MOST], len(found))
