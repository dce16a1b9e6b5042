"""What the serving benchmark is to show, and whether it did."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving import model, ours, peers
from benchmarks.serving.measured import Cell, Measured

Results = Mapping[str, Sequence[Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim and what was measured for it."""

    about: str
    goal: float
    value: float | None
    """None: it was not measured."""
    at_most: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Return `reached`, `not reached` or `not measured`."""
        if self.value is None:
            return "not measured"
        good = self.value <= self.goal if self.at_most else self.value >= self.goal
        return "reached" if good else "not reached"

    @property
    def words(self) -> str:
        """Return the aim as a line."""
        return f"{self.about}: {'at most' if self.at_most else 'at least'} {self.goal:g} {self.unit}"


def median(results: Results, server: str, *, clients: int, of: Callable[[Cell], float]) -> float | None:
    """Return a quantity's median over the rounds in which it was measured."""
    values = [of(one.cells[clients]) for one in results.get(server, ()) if clients in one.cells]
    return statistics.median(values) if values else None


def bandwidth_share(one: Measured) -> float | None:
    """Return the percentage of the read bandwidth beside it that one client's tokens use."""
    if 1 not in one.cells or not one.bandwidth_gbps:
        return None
    return 100 * one.cells[1].decode_rate * model.bytes_per_token() / (one.bandwidth_gbps * 1e9)


def aims(results: Results) -> list[Aim]:
    """Return all aims."""
    ours_, onnx, int4 = ours.TRANSFORMERS.name, ours.ONNX_FP32.name, ours.ONNX_INT4.name
    bare, batching = peers.BARE.name, peers.BATCHING.name
    shares = [share for one in results.get(onnx, ()) if (share := bandwidth_share(one)) is not None]

    def ratio(server: str, other: str, *, clients: int) -> float | None:
        above = median(results, server, clients=clients, of=lambda cell: cell.rate)
        below = median(results, other, clients=clients, of=lambda cell: cell.rate)
        return above / below if above is not None and below else None

    def equal(server: str) -> float | None:
        cells = [cell for one in results.get(server, ()) for cell in one.cells.values()]
        return 100 * sum(cell.equal for cell in cells) / sum(cell.asked for cell in cells) if cells else None

    first_s = median(results, ours_, clients=16, of=lambda cell: cell.first_s)
    return [
        Aim(about=f"{ours_}, 16 clients, against {bare}", goal=7.0, value=ratio(ours_, bare, clients=16)),
        Aim(about=f"{ours_}, 16 clients, against {batching}", goal=1.0, value=ratio(ours_, batching, clients=16)),
        Aim(about=f"{ours_}, 16 clients, first token", goal=0.4, value=first_s, at_most=True, unit="s"),
        Aim(about=f"{ours_}, 1 client, against {bare}", goal=1.0, value=ratio(ours_, bare, clients=1)),
        Aim(about=f"{ours_}, 1 client, against {bare}, hoped for", goal=2.0, value=ratio(ours_, bare, clients=1)),
        Aim(about=f"{ours_}, answers equal to generate's", goal=100, value=equal(ours_), unit="%"),
        Aim(about=f"{onnx}, 1 client, against {bare}", goal=3.0, value=ratio(onnx, bare, clients=1)),
        Aim(about=f"{onnx}, answers equal to generate's", goal=100, value=equal(onnx), unit="%"),
        Aim(
            about=f"{onnx}, 1 client, of the read bandwidth", goal=75, unit="%",
            value=statistics.median(shares) if shares else None,
        ),
        Aim(about=f"{int4}, 1 client, against {bare}", goal=7.0, value=ratio(int4, bare, clients=1)),
    ]  # fmt: skip
