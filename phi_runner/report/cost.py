"""Plan against what really happened: time by stage, memory, money."""

from typing import Any

from markupsafe import Markup

from phi_runner.pages import pieces
from phi_runner.pages.frame import Section
from phi_runner.report.overview import duration
from phi_runner.report.run_folder import RunFolder, number, rows, table, text

_HOUR_S = 3600.0


def section(run: RunFolder) -> Section | None:
    """Return what the plan expected of this run beside what was measured; nothing where there was no plan."""
    plan = table(run.json("plan.json"))
    if not plan:
        return None
    estimates = table(plan.get("estimates")) or plan
    body = pieces.join(_times(run, estimates), _memory(run, estimates), _bills(estimates), _missing(estimates))
    return Section(id="plan", title="Plan, time and cost", body=body) if body else None


def band(value: object, *, factor: float = 1.0) -> tuple[float, float, float] | None:
    """Return low, likely and high of a band, or None where the figure is missing."""
    found = table(value)
    low, likely, high = (number(found, name) for name in ("low", "likely", "high"))
    return None if low is None or likely is None or high is None else (low * factor, likely * factor, high * factor)


def _times(run: RunFolder, estimates: dict[str, Any]) -> Markup | None:
    shown: list[list[pieces.TableCell]] = []
    for name, figure in table(estimates.get("hours")).items():
        stage, planned = run.stage(name), band(figure, factor=_HOUR_S)
        if stage is None or stage.status not in ("done", "running", "failed", "interrupted"):
            continue
        expected = f"{duration(planned[0])} to {duration(planned[2])}" if planned else "not known"
        source = text(table(figure), "source") or text(table(figure), "missing")
        shown.append(
            [name, duration(stage.seconds) if stage.seconds else "-", expected, _inside(stage.seconds, planned), source]
        )
    return pieces.table(["stage", "took", "planned", "", "source"], shown, stack=True) if shown else None


def _inside(seconds: float, planned: tuple[float, float, float] | None) -> Markup:
    if not planned or not seconds:
        return Markup("")
    if planned[0] <= seconds <= planned[2]:
        return pieces.badge("as planned", tone=pieces.Tone.good)
    return pieces.badge("faster" if seconds < planned[0] else "slower", tone=pieces.Tone.warn)


def _memory(run: RunFolder, estimates: dict[str, Any]) -> Markup | None:
    measured = table(run.of_stage("train", "measured.json"))
    peak = number(measured, "peak_cuda_bytes") or number(measured, "peak_bytes")
    shown: list[list[pieces.TableCell]] = []
    for item in rows(estimates.get("memory")):
        planned = band(item.get("per_device")) or band(item.get("per_process"))
        took = f"{peak / 2**30:.2f} GiB" if peak and text(item, "stage") == "train" else ""
        if planned:
            shown.append([text(item, "stage"), took, f"{planned[0]:.2f} to {planned[2]:.2f} GiB"])
    return pieces.table(["stage", "peak memory", "planned"], shown) if shown else None


def _bills(estimates: dict[str, Any]) -> Markup | None:
    shown: list[list[pieces.TableCell]] = []
    for bill in rows(estimates.get("bills")):
        usd = band(bill.get("usd"))
        told = f"{usd[0]:.2f} to {usd[2]:.2f} USD" if usd else "not known"
        stays = "goes on until teardown" if bill.get("stays") else "ends with the run"
        shown.append([text(bill, "what"), text(bill, "size"), told, stays])
    if not shown:
        return pieces.paragraph("Nothing of this run bills.", note=True)
    dated = text(estimates, "prices_as_of")
    note = pieces.paragraph(f"Prices of {dated}.", note=True) if dated else None
    return pieces.join(pieces.table(["what", "size", "planned cost", ""], shown, stack=True), note)


def _missing(estimates: dict[str, Any]) -> Markup | None:
    said = estimates.get("missing")
    told = [str(item) for item in said] if isinstance(said, list) else []
    return pieces.join(pieces.paragraph("Figures that the plan did not have:"), pieces.bullets(told)) if told else None
