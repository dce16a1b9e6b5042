"""What an endpoint does under too much load and worse: `python -m benchmarks.load [--quick] [--json FILE]`.

Four times the requests that it can answer come at it, good ones among slow, rude, malformed and unauthorised ones, and
its engine is killed again and again. Every request must be accounted for; the exit code is 1 when one was lost or a
client without the key got a token.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.serving import model, ours
from benchmarks.serving.cases import Mix
from benchmarks.serving.model import Reference
from benchmarks.serving.servers import CannotServe, Up
from benchmarks.serving.siege import Siege
from benchmarks.table import Figure, objects

_TIMES = 4
_LEAST_RATE = 0.2
_QUICK_MINUTES = 4
"""A shorter run kills sooner and warms up less."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--minutes", type=float, default=0, help="10, if not said otherwise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0, help="good requests a second; 0: 4 times what is measured")
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "phi_runner_bench")
    found = parser.parse_args()
    found.minutes = found.minutes or (1.0 if found.quick else 10.0)
    return found


async def _besiege(up: Up, options: argparse.Namespace, references: Mapping[str, Reference]) -> list[Figure]:
    """Measure the capacity, then send four times that, and print the account."""
    mix = Mix(list(references), key=up.key, seed=options.seed)
    siege = Siege(up, mix=mix, references=references, quick=options.minutes < _QUICK_MINUTES)
    capacity = options.rate / _TIMES or await siege.capacity(clients=16, seconds=8 if options.quick else 20)
    rate = max(_TIMES * capacity / mix.good_share, _LEAST_RATE)
    print(f"{capacity:.1f} good requests a second are answered; sends {rate:.0f} of all kinds a second", flush=True)
    await siege.run(rate=rate, seconds=60 * options.minutes)
    last = await siege.afterwards()
    siege.ledger.show()
    print(f"a good request afterwards: {last.what} after {last.seconds:.2f} s")
    found = siege.figures(capacity=capacity, rate=rate)
    found.append(Figure(name="a good request afterwards", values=[last.seconds], unit="s"))
    _show([figure for figure in found if figure.unit != "requests"], title=f"{options.minutes:g} minutes")
    return found


def _show(found: Sequence[Figure], *, title: str) -> None:
    """Print what was seen beside the requests, a line each."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    table = Table("seen", "unit", "median", "least", "most", title=title, title_justify="left")
    for figure in found:
        values = figure.values or [float("nan")]
        numbers = (statistics.median(values), min(values), max(values))
        table.add_row(figure.name, figure.unit, *(f"{number:.2f}" for number in numbers))
    console.print(table)


def main() -> int:
    """Run, print, and return the exit code."""
    options = _options()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    chosen = model.folder_of(options.venvs / "made")
    references = model.references(model.prompts(56, model=chosen), model=chosen)
    outputs = options.venvs / "made" / "load"
    shutil.rmtree(outputs, ignore_errors=True)
    try:
        with ours.deployed(ours.wanted(chosen, outputs)) as up:
            _allow_many_connections()
            found = asyncio.run(_besiege(up, options, references))
    except CannotServe as err:
        print(f"does not run: {err}")
        return 1
    if options.json:
        options.json.write_text(json.dumps(objects(found), indent=1) + "\n", encoding="utf-8")
    bad = {figure.name for figure in found if figure.values and figure.values[0] > 0} & {
        "lost", "unaccounted for", "tokens for a wrong key", "another text than generate's",
    }  # fmt: skip
    print(f"FAILED: {', '.join(sorted(bad))}" if bad else "every request is accounted for; no token for a wrong key")
    return 1 if bad else 0


def _allow_many_connections() -> None:
    """Let this process have as many open sockets as the system grants; the endpoint keeps its own limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
