"""How fast this machine multiplies matrices, in billions of operations a second: `python -m benchmarks.peak cpu`."""

import json
import os
import subprocess
import sys
import time
from typing import Any

_WIDTH = 4096
_GPU_WIDTH = 8192
_LONGEST_S = 5.0
"""A product that would take longer is measured on smaller matrices: a processor without bf16 needs minutes for it."""
_REPEATS = 4


def measure(device: str) -> dict[str, float]:
    """Return GFLOP/s of `fp32` and `bf16` in a process of their own, with all threads."""
    command = [sys.executable, "-m", "benchmarks.peak", device]
    environment = os.environ | {"OMP_NUM_THREADS": str(os.cpu_count())}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found: dict[str, float] = json.loads(said)
    return found


def _seconds(a: Any, b: Any) -> float:
    """Return the shortest time of a product, laid out as a linear layer's."""
    import torch
    from torch.nn.functional import linear

    best = float("inf")
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        linear(a, b)
        if a.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return best


def _gflops(device: str, dtype: Any) -> float:
    import torch

    width, last = 512, _GPU_WIDTH if device == "cuda" else _WIDTH
    while True:
        a, b = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
        seconds = _seconds(a, b)
        if width >= last or 8 * seconds > _LONGEST_S:
            return float(2 * width**3 / seconds / 1e9)
        width *= 2


def main(device: str) -> None:
    """Print both figures as JSON."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    print(json.dumps({"fp32": _gflops(device, torch.float32), "bf16": _gflops(device, torch.bfloat16)}))


if __name__ == "__main__":
    main(sys.argv[1])
