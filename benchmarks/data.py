"""How fast dialogues become packed rows of tokens: `python -m benchmarks.data [--quick] [--rows N] [--json FILE]`.

Each way runs in a process of its own, in turn, round by round, so that a machine whose speed drifts slows all of them
alike. Ours begins, as TRL's own does, with the Arrow file that the data stage writes; the tutorial's way with the JSON
Lines that it downloads. The limit is the tokenizer alone: texts rendered already, ids thrown away.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import corpus, data_ways
from benchmarks.table import Figure, show

_NAMES = {
    "tutorial": "tutorial",
    "trl": "TRL alone",
    "ours": "phi_runner",
    "cached": "phi_runner, second run",
    "raw": "encode_batch_fast alone",
}
_QUICK_ROWS, _FULL_ROWS = 3_000, 20_000
_ROOT = Path(__file__).parents[1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROWS} rows, one round, under 15 minutes")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "phi_runner_bench" / "corpus")
    found = parser.parse_args()
    found.rows = found.rows or (_QUICK_ROWS if found.quick else _FULL_ROWS)
    found.rounds = found.rounds or (1 if found.quick else 3)
    return found


def _run(way: str, *, rows: int, folder: Path, scratch: Path) -> dict[str, Any]:
    """Run a way in a process of its own; raises CalledProcessError with what it said when it fails."""
    command = [sys.executable, "-m", "benchmarks.data_ways", way, str(folder), str(rows)]
    environment = os.environ | {"HF_DATASETS_CACHE": str(scratch), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{way} failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    print(f"{_NAMES[way]:24} {rows / found['seconds']:9,.0f} rows/s", file=sys.stderr)
    return found


def _round(*, rows: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Run every way once; ours twice in the same place, so that the second run finds what the first one left."""
    found = {}
    for way in data_ways.WAYS:
        scratch = Path(tempfile.mkdtemp(prefix="phi-runner-data-"))
        try:
            found[way] = _run(way, rows=rows, folder=folder, scratch=scratch)
            if way == "ours":
                found["cached"] = _run(way, rows=rows, folder=folder, scratch=scratch)
        finally:
            shutil.rmtree(scratch)
    return found


def figures(rounds: list[dict[str, dict[str, Any]]], *, rows: int) -> list[Figure]:
    """Return what the rounds measured; speeds are to the tutorial's way, tokens to TRL alone, shares to the limit."""

    def each(unit: str, of: Callable[[dict[str, Any]], float], *, ratio_to: str = "") -> list[Figure]:
        return [
            Figure(name=name, values=[of(found[way]) for found in rounds], unit=unit, ratio_to=_NAMES.get(ratio_to, ""))
            for way, name in _NAMES.items()
        ]

    return [
        *each("rows/s", lambda run: rows / run["seconds"], ratio_to="tutorial"),
        *each("tokens/s", lambda run: run["tokens"] / run["seconds"], ratio_to="trl"),
        *each("rows/s, to the limit", lambda run: rows / run["seconds"], ratio_to="raw"),
        *each("s", lambda run: run["seconds"]),
        *each("s of processor time, start included", lambda run: run["cpu_s"]),
        *each("GiB, peak", lambda run: run["self_gib"]),
        *each("GiB, peak of the largest child", lambda run: run["child_gib"]),
    ]


def main() -> None:
    """Measure and print."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    corpus.tokenizer(data_ways.VOCABULARY, folder=options.folder)
    data_ways.arrow(options.rows, folder=options.folder)
    rounds = [_round(rows=options.rows, folder=options.folder) for _ in range(options.rounds)]
    title = f"{options.rows:,} dialogues to packed rows of {data_ways.MAX_LENGTH} tokens, {options.rounds} rounds"
    show(figures(rounds, rows=options.rows), title=title, file=options.json)


if __name__ == "__main__":
    main()
