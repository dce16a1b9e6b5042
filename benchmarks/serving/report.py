"""The serving benchmark's results: as figures for `--json`, and as tables with all of a server in one line."""

import statistics
from collections.abc import Callable, Sequence

from benchmarks.serving import peers
from benchmarks.serving.aims import Results, aims, bandwidth_share
from benchmarks.serving.measured import Cell, Measured
from benchmarks.serving.servers import Server
from benchmarks.table import Figure

_QUANTITIES: tuple[tuple[str, Callable[[Cell], float]], ...] = (
    ("tokens/s", lambda cell: cell.rate),
    ("s to the first token, median", lambda cell: cell.first_s),
    ("s to the whole answer, median", lambda cell: cell.latency_s),
    ("s to the whole answer, 95 %", lambda cell: cell.latency_p95_s),
    ("% of answers equal to generate's", lambda cell: 100 * cell.equal / cell.asked),
)


def figures(servers: Sequence[Server], results: Results, *, clients: Sequence[int]) -> list[Figure]:
    """Return every quantity of every server, then the aims; ratios are to bare `generate`."""
    found = []
    for count in clients:
        for unit, of in _QUANTITIES:
            for server in servers:
                cells = [one.cells[count] for one in results[server.name] if count in one.cells]
                found.append(_figure(server, results, list(map(of, cells)), unit=f"{unit}, {_clients(count)}"))
    for server in servers:
        measured = [one for one in results[server.name] if one.cells]
        found.append(_figure(server, results, [one.start_s for one in measured], unit="s to start"))
        sizes = [one.resident_bytes / 2**20 for one in measured]
        found.append(_figure(server, results, sizes, unit="MiB resident, all processes"))
        found.append(_figure(server, results, [one.bandwidth_gbps for one in measured], unit="GB/s read beside it"))
        if server.bandwidth_bound:
            shares = [share for one in measured if (share := bandwidth_share(one)) is not None]
            found.append(_figure(server, results, shares, unit="% of the read bandwidth, 1 client"))
    for aim in aims(results):
        values = [] if aim.value is None else [aim.value]
        name = f"aim: {aim.words} ({aim.verdict})" if values else f"aim: {aim.words}"
        found.append(Figure(name=name, values=values, unit=aim.unit, note=aim.verdict))
    return found


def _figure(server: Server, results: Results, values: Sequence[float], *, unit: str) -> Figure:
    note = next((one.problem for one in results[server.name] if one.problem), "not measured")
    return Figure(name=server.name, values=values, unit=unit, ratio_to=peers.BARE.name, note=note)


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def show(servers: Sequence[Server], results: Results, *, clients: Sequence[int], title: str) -> None:
    """Print a table for each number of clients, one of what does not depend on it, and the aims."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)

    def table(name: str, *headings: str, first: str = "server") -> Table:
        made = Table(first, title=name, title_justify="left")
        for heading in headings:
            made.add_column(heading, justify="left" if heading == "note" else "right")
        return made

    for count in clients:
        headings = ("tokens/s", "min-max", "ratio", "first token s", "answer s", "95 % s", "equal", "note")
        made = table(f"{title}: {_clients(count)}", *headings)
        for server in servers:
            made.add_row(server.name, *_cells(results, server.name, clients=count))
        console.print(made)
    made = table(f"{title}: all", "start s", "MiB", "read GB/s", "% of it at 1 client", "note")
    for server in servers:
        made.add_row(server.name, *_whole(results[server.name], bound=server.bandwidth_bound), server.about)
    console.print(made)
    made = table("aims", "measured", "", first="aim")
    for aim in aims(results):
        made.add_row(aim.words, "-" if aim.value is None else f"{aim.value:.2f}", aim.verdict)
    console.print(made)


def _cells(results: Results, server: str, *, clients: int) -> list[str]:
    found = [one.cells[clients] for one in results[server] if clients in one.cells]
    note = next((one.problem for one in results[server] if one.problem), "")
    if not found:
        return ["-"] * 7 + [note]
    bare = [one.cells[clients].rate for one in results.get(peers.BARE.name, ()) if clients in one.cells]
    rates = [cell.rate for cell in found]
    rate = statistics.median(rates)
    ratio = f"{rate / statistics.median(bare):.2f}" if bare else "-"
    times = [(cell.first_s, cell.latency_s, cell.latency_p95_s) for cell in found]
    note = note or next((cell.problem for cell in found if cell.problem), "")
    return [
        f"{rate:.1f}", f"{min(rates):.0f}-{max(rates):.0f}", ratio,
        *(f"{statistics.median(column):.3f}" for column in zip(*times, strict=True)),
        f"{sum(cell.equal for cell in found)}/{sum(cell.asked for cell in found)}", note,
    ]  # fmt: skip


def _whole(measured: Sequence[Measured], *, bound: bool) -> list[str]:
    there = [one for one in measured if one.cells]
    if not there:
        return ["-"] * 4
    shares = [share for one in there if (share := bandwidth_share(one)) is not None]
    return [
        f"{statistics.median(one.start_s for one in there):.1f}",
        f"{statistics.median(one.resident_bytes for one in there) / 2**20:.0f}",
        f"{statistics.median(one.bandwidth_gbps for one in there):.1f}",
        f"{statistics.median(shares):.0f}" if shares and bound else "-",
    ]
