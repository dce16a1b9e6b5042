"""Equally many micro-batches for every process, each row counted once: what is lacking at an epoch's end is blank.

accelerate would repeat the epoch's first rows there instead, and the steps would differ from those of one process.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from phi_runner.model.tokens import IGNORED

_LABELS = "labels"
_BLANK_TOKENS = 2


class EvenRows(Trainer):  # type: ignore[misc]  # transformers is not typed
    """A trainer whose processes take the rows of a step in turn. To be named before TRL's trainer."""

    def _get_dataloader(
        self, dataset: Any, description: str, batch_size: int, sampler_fn: Callable[[Any], Any] | None = None,
        is_training: bool = False, **more: Any,
    ) -> Any:  # fmt: skip
        alone = self.args.world_size == 1 or not is_training
        if not alone and sampler_fn and hasattr(dataset, "__len__") and _LABELS in dataset[0]:
            order = Rounded(sampler_fn(dataset), rows=len(dataset), multiple=batch_size * self.args.world_size)
            dataset, sampler_fn = RowsAndBlanks(dataset), lambda _rows: order
        return super()._get_dataloader(
            dataset, description, batch_size, sampler_fn=sampler_fn, is_training=is_training, **more
        )


class RowsAndBlanks(Dataset[Any]):
    """The rows of an epoch, then one that teaches nothing, for processes that would otherwise have none to compute."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        first = rows[0]
        self._blank = {name: _blank(name, value) for name, value in first.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Any:
        return self._rows[place] if place < len(self._rows) else self._blank

    def __getitems__(self, places: list[int]) -> list[Any]:
        real = [place for place in places if place < len(self._rows)]
        found = iter(self._rows.__getitems__(real) if real else [])
        return [next(found) if place < len(self._rows) else self._blank for place in places]


def _blank(name: str, value: Any) -> Any:
    if name == _LABELS:
        return [IGNORED] * _BLANK_TOKENS
    if name == "seq_lengths":
        return [_BLANK_TOKENS]
    return value[:_BLANK_TOKENS] if isinstance(value, list) else value


class Rounded(Sampler[int]):
    """An order of rows, and blanks at its end up to a multiple of what all processes take at once."""

    def __init__(self, order: Any, *, rows: int, multiple: int) -> None:
        self._order, self._rows = order, rows
        self._length = -(-rows // multiple) * multiple

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on."""
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from [self._rows] * (self._length - self._rows)

    def __len__(self) -> int:
        return self._length
