"""What glibc does with memory that a step has freed: by default it gives large pieces back and fetches them again."""

import ctypes
import ctypes.util
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""mallopt's names for its parameters (malloc.h)."""
_TOP_PAD_BYTES = 64 << 20


def keep_freed() -> bool:
    """Ask glibc to keep what is freed for the next request; say whether it will.

    A tensor above 32 MB is a mapping of its own otherwise, made and unmade at each use, and the page faults cost more
    than the arithmetic on it (a step of TRL's loss took 1.9 times as long).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # musl has neither the name nor the function
        return False
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _TOP_PAD_BYTES))
    granted = [mallopt(name, value) == 1 for name, value in wishes]  # every one is asked for
    return all(granted)
