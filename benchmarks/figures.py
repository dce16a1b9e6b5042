"""The training benchmark's results as figures: speed, share of the machine's peak, memory, start."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.measure import Measured
from benchmarks.peers.trl_alone import TUTORIAL, TUTORIAL_FP32
from benchmarks.table import Figure
from benchmarks.tasks import Task


def figures(
    task: Task, results: Mapping[str, Sequence[Measured]], *, peaks: Mapping[str, Sequence[float]]
) -> list[Figure]:
    """Return every quantity of every variant; ratios are to the tutorial's settings in a precision that runs here."""
    reference = TUTORIAL_FP32.name if TUTORIAL_FP32.name in results else TUTORIAL.name
    name = f"{task.size}, {{}}".format

    def each(unit: str, of: Callable[[Measured], float | None], *, noted: bool = False) -> list[Figure]:
        found = []
        for variant, measured in results.items():
            values = [value for value in map(of, measured) if value is not None]
            if values or noted:
                bound = "at most this" if unit[0] == "%" and any("at most" in one.note for one in measured) else ""
                note = _note(measured) if noted else bound
                found.append(Figure(name=name(variant), values=values, unit=unit, ratio_to=name(reference), note=note))
        return found

    def share(peak: float) -> Callable[[Measured], float | None]:
        return lambda one: None if one.rate is None else 100 * task.flops_per_token * one.rate / (peak * 1e9)

    found = each("tokens/s", lambda one: one.rate, noted=True)
    for precision, measured in peaks.items():
        found += each(f"% of the {precision} matmul peak", share(max(measured)))
    found += each("GiB, peak of all processes", lambda one: one.peak_gib)
    found += each("GiB, peak on the GPU", lambda one: one.gpu_gib)
    found += each("s to the end of the first step", lambda one: one.first_s)
    return found + [
        Figure(name=name(f"{precision} matmul"), values=measured, unit="GFLOP/s")
        for precision, measured in peaks.items()
    ]


def _note(measured: Sequence[Measured]) -> str:
    """Return what the rounds remarked, and the losses of the last one."""
    remarks = list(dict.fromkeys(one.note.strip("; ") for one in measured if one.note))
    last = next((one.losses for one in reversed(measured) if one.losses), [])
    return "; ".join([*remarks, *([f"loss {last[0]:.3f} -> {last[-1]:.3f}"] if last else [])])
