"""How fast a model answers over HTTP, from us and from others: `python -m benchmarks.serve [--quick] [--json FILE]`.

Every server is started alone, asked by 1, 4 and 16 clients, and ended, in turn, round by round, so that a machine whose
speed drifts slows all of them alike. docs/benchmarks.md says how to read the tables.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving import bandwidth, model, ours, peers, report
from benchmarks.serving.ask import ask
from benchmarks.serving.measured import Measured, cell
from benchmarks.serving.servers import CannotServe, Place, Server, Up
from benchmarks.table import objects

_QUICK_S = 5 * 60
_INSTALL_S = 1800.0
_WARM_UP = 2
"""Requests before anything is measured."""
_REQUESTS = {1: 6, 4: 16, 16: 32}
"""By number of clients."""
_QUICK_REQUESTS = {1: 3, 4: 8, 16: 16}


def _servers(*, quick: bool, only: Sequence[str]) -> list[Server]:
    """Return whom to measure, the most telling first."""
    found = [
        peers.BARE, ours.TRANSFORMERS, peers.BATCHING, ours.ONNX_FP32, ours.ONNX_INT4, *ours.DIRECT,
        *(() if quick else (peers.PLAIN, peers.MLFLOW, peers.AZUREML)),
    ]  # fmt: skip
    return [server for server in found if not only or any(word in server.name.lower() for word in only)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, fewer requests and servers, under 6 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", default="", metavar="NAME,...", help="servers whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--clients", default="", help=f"some of {','.join(map(str, _REQUESTS))}")
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "phi_runner_bench")
    found = parser.parse_args()
    found.rounds = found.rounds or (1 if found.quick else 3)
    found.clients = [int(count) for count in found.clients.split(",") if count] or list(_REQUESTS)
    found.only = [word.strip().lower() for word in found.only.split(",") if word.strip()]
    return found


class Bench:
    """One run of the benchmark: its options, the model, the prompts and their answers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._ends_at = time.perf_counter() + (_QUICK_S if options.quick else float("inf"))
        self._model = model.folder_of(options.venvs / "made")
        self._requests = _QUICK_REQUESTS if options.quick else _REQUESTS
        # the same prompts for a quick run and a whole one, so that their answers are computed once
        self._prompts = model.prompts(_WARM_UP + sum(_REQUESTS.values()), model=self._model)
        self._references = model.references(self._prompts, model=self._model)
        self.servers = _servers(quick=options.quick, only=options.only)

    def run(self) -> dict[str, list[Measured]]:
        """Measure every server in every round."""
        results: dict[str, list[Measured]] = {server.name: [] for server in self.servers}
        for number in range(self._options.rounds):
            for server in self.servers:
                before = results[server.name]
                if before and not before[-1].cells:
                    continue  # it does not run here: once is enough
                print(f"round {number + 1}: {server.name} ({server.about}) ...", flush=True)
                before.append(self._once(server))
                print(f"    {_told(before[-1])}", flush=True)
        return results

    def _once(self, server: Server) -> Measured:
        if time.perf_counter() > self._ends_at:
            return Measured(problem="left out: no time left in --quick")
        folder = self._options.venvs / "made" / "served" / re.sub(r"\W+", "_", server.name)
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(
            model=self._model, folder=folder, venvs=self._options.venvs,
            install_s=0 if self._options.quick else _INSTALL_S,
        )  # fmt: skip
        try:
            with server.up(place) as up:
                return self._measure(server, up)
        except CannotServe as err:
            return Measured(problem=f"does not run: {err}")

    def _measure(self, server: Server, up: Up) -> Measured:
        prompts = iter(self._prompts)
        found = Measured(start_s=up.start_s)
        asyncio.run(
            ask([next(prompts) for _ in range(_WARM_UP)], url=up.url, dialect=server.dialect, key=up.key, clients=1)
        )
        beside = []
        for clients, count in self._requests.items():
            chosen = [next(prompts) for _ in range(count)]
            if clients not in self._options.clients:
                continue
            if clients == 1:
                beside.append(bandwidth.read_gbps(model.bytes_per_token()))
            asked = asyncio.run(ask(chosen, url=up.url, dialect=server.dialect, key=up.key, clients=clients))
            if clients == 1:
                beside.append(bandwidth.read_gbps(model.bytes_per_token()))
            found.cells[clients] = cell(asked, references=self._references, dialect=server.dialect)
        found.bandwidth_gbps = statistics.mean(beside) if beside else 0.0
        found.resident_bytes = up.resident_bytes()
        return found


def _told(one: Measured) -> str:
    rates = ", ".join(f"{count}: {cell.rate:.0f}" for count, cell in one.cells.items())
    problems = [one.problem, *(cell.problem for cell in one.cells.values())]
    return "; ".join([*([f"tokens/s {rates}"] if rates else []), *filter(None, problems)])


def main() -> None:
    """Measure and print."""
    options = _options()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    bench = Bench(options)
    results = bench.run()
    title = f"52 million fp32 parameters, {model.NEW_TOKENS} new tokens, {options.rounds} rounds"
    report.show(bench.servers, results, clients=options.clients, title=title)
    if options.json:
        rows = objects(report.figures(bench.servers, results, clients=options.clients))
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
