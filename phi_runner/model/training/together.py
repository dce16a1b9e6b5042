"""What the processes of one training agree upon, so that all of them save, stop or give up after the same step."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch.distributed as dist

_Value = TypeVar("_Value")
_PATIENCE = timedelta(hours=2)
"""How long one process may save alone while the others wait: longer than torch's half an hour."""


def several() -> bool:
    """Say whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def first() -> bool:
    """Say whether this is the process that writes, tells and decides."""
    return not several() or dist.get_rank() == 0


@cache
def _group() -> Any:
    """Return a group that talks past the devices: on CUDA nothing waits for their queues."""
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


def wait() -> None:
    """Go on when every process has come here."""
    if several():
        dist.barrier(group=_group())


def any_of(*mine: bool) -> tuple[bool, ...]:
    """Return, for each question, whether any process says yes; every process must ask at the same place."""
    if not several():
        return mine
    import torch

    flags = torch.tensor(mine, dtype=torch.uint8)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=_group())
    return tuple(bool(flag) for flag in flags.tolist())


def decided(decide: Callable[[], _Value]) -> _Value:
    """Return what the first process decides, in all of them."""
    if not several():
        return decide()
    box: list[Any] = [decide() if first() else None]
    dist.broadcast_object_list(box, src=0, group=_group())
    found: _Value = box[0]
    return found


def everybodys(mine: list[int]) -> list[int]:
    """Return the numbers of all processes, sorted, each once."""
    if not several():
        return sorted(set(mine))
    boxes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(boxes, mine, group=_group())
    return sorted({number for box in boxes for number in box})
