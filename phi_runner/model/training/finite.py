"""Numbers that are none: found before they reach the weights, and told with the rows that were being learnt."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

_MOST_TOLD = 12


def number(*values: Any) -> bool:
    """Say whether the sum of some tensors of one element, or floats, is a number; one wait for the device, no more."""
    known = [value for value in values if value is not None]
    total = sum(value.full_tensor() if hasattr(value, "full_tensor") else value for value in known)
    return math.isfinite(float(total))


def weights(model: Any) -> bool:
    """Say whether every weight that is trained, as far as it lies in this process, is a number."""
    import torch

    for weight in model.parameters():
        local = weight.to_local() if hasattr(weight, "to_local") else weight
        if weight.requires_grad and not bool(torch.isfinite(local).all()):
            return False
    return True


def pieces(batch: Any) -> Iterator[tuple[int, ...]]:
    """Yield the token ids of each dialogue of a batch, padding cut off and packed rows taken apart."""
    mask, positions = batch.get("attention_mask"), batch.get("position_ids")
    for row, ids in enumerate(batch["input_ids"].tolist()):
        if positions is not None:
            starts = [place for place, position in enumerate(positions[row].tolist()) if position == 0] + [len(ids)]
            yield from (tuple(ids[start:end]) for start, end in pairwise(starts))
        else:
            kept = mask[row].tolist() if mask is not None else [1] * len(ids)
            yield tuple(token for token, counts in zip(ids, kept, strict=True) if counts)


def places(batches: Iterable[Any], *, rows: Iterable[Sequence[int]]) -> list[int]:
    """Return the numbers, from 0, of the rows that the batches were made of; a row that comes twice is told twice."""
    wanted = {hash(piece) for batch in batches for piece in pieces(batch)}
    return [place for place, ids in enumerate(rows) if hash(tuple(ids)) in wanted]


def told(found: list[int]) -> str:
    """Return row numbers as a person reads them."""
    if not found:
        return "rows unknown"
    shown = ", ".join(str(place) for place in found[:_MOST_TOLD])
    more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return f"row{'s' if len(found) > 1 else ''} {shown}{more} of the training set, counted from 0"
