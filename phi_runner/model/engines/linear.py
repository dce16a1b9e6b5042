"""Products with a weight that never changes: on a processor it is laid out once as its kernel reads it."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn.functional import linear

Product: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
_ROWS = 16
"""For how many rows at a time the layout is chosen. Measured on one core, the weights of a 52M model, ms for 1/4/16/65
rows: as transformers has them 12/28/48/90, laid out for 1 row 12/26/35/97, for 16 rows 10/15/27/77."""


def product(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Product:
    """Return what multiplies rows, (rows, in), by a weight, (out, in)."""
    packable = weight.device.type == "cpu" and weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not packable:
        return lambda rows: linear(rows, weight, bias)
    kernels = torch.ops.mkldnn
    packed = kernels._reorder_linear_weight(weight.detach(), _ROWS)
    multiply = kernels._linear_pointwise

    def with_packed(rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = multiply(rows, packed, bias, "none", [], "")
        return result

    return with_packed
