"""How many CUDA devices there are, asked of NVIDIA's own library, so that nothing heavy is loaded to find out."""

import ctypes
import os
from contextlib import suppress
from functools import cache

_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def devices() -> int:
    """Return how many CUDA devices this process may use, as `CUDA_VISIBLE_DEVICES` narrows them."""
    found = _found()
    told = os.environ.get(_VISIBLE)
    if told is None:
        return found
    names = [name.strip() for name in told.split(",")]
    usable = 0
    for name in names:  # CUDA stops at the first one that it does not know
        if not name or name.startswith("-") or (name.isdigit() and int(name) >= found):
            break
        usable += 1
    return min(usable, found) if all(name.isdigit() for name in names) else usable * bool(found)


@cache
def _found() -> int:
    for name in _LIBRARIES:
        with suppress(OSError):
            library = ctypes.CDLL(name)
            count = ctypes.c_uint(0)
            if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
                library.nvmlShutdown()
                return count.value
    return 0
