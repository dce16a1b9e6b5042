"""How fast this machine reads as many bytes as one client's token costs: what a single answer cannot outrun."""

import statistics
import time
from collections.abc import Callable

_PASSES = 12
_WIDTH = 512


def read_gbps(size: int, *, threads: int = 2) -> float:
    """Return how fast an array of `size` bytes is read, in 10^9 bytes a second: the faster of two ways, their medians.

    One sums it, one multiplies it as a matrix with a vector, which is what a decoding step does with the weights. The
    array must be larger than the processor's caches.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix, vector = torch.ones(size // 4 // _WIDTH, _WIDTH), torch.ones(_WIDTH)
    rates = [matrix.nbytes / _median_s(once) / 1e9 for once in (matrix.sum, lambda: torch.mv(matrix, vector))]
    torch.set_num_threads(before)
    return max(rates)


def _median_s(once: Callable[[], object]) -> float:
    once()
    times = []
    for _ in range(_PASSES):
        begun = time.perf_counter()
        once()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
