"""The cores that this process may use: all that it is allowed, or its share where trials run side by side."""

import os

VARIABLE = "PHI_RUNNER_CORES"
"""Environment variable with the share of one trial."""


def here() -> int:
    """Return their number."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, int(os.environ.get(VARIABLE) or allowed)))
