"""`report.html`: one run as a page that a person can read, whatever its folder holds."""

import os
from collections.abc import Iterable
from pathlib import Path

from phi_runner import __version__
from phi_runner.pages.frame import page
from phi_runner.report import card, cost, endpoint, overview, reproduced, settings, surroundings, training
from phi_runner.report.run_folder import REPORT_FILE, RunFolder, read
from phi_runner.report.secrets import blotted

_SECTIONS = (
    overview.stages, reproduced.section, settings.section, surroundings.data, training.section, card.section,
    endpoint.section, surroundings.flow, cost.section, surroundings.versions, surroundings.files,
)  # fmt: skip


def render(run: RunFolder, *, secrets: Iterable[str] = (), trace: str = "") -> str:
    """Return the page, without anything that looks like a key."""
    made = [section(run) for section in _SECTIONS]
    html = page(
        f"Run {run.name}",
        subtitle=overview.subtitle(run),
        lead=overview.lead(run, trace=trace),
        sections=[section for section in made if section],
        foot=f"Made by phi_runner {__version__}; it needs no network and holds no key.",
    )
    return blotted(html, secrets=secrets)


def write(folder: Path, *, secrets: Iterable[str] = (), trace: str = "") -> Path:
    """Write the page of a run folder into it and return the file; raises OSError.

    `trace` is the traceback of a failure that nobody foresaw.
    """
    return put(render(read(folder), secrets=secrets, trace=trace), file=folder / REPORT_FILE)


def put(html: str, *, file: Path) -> Path:
    """Write a page so that a reader sees the old one or the new one and nothing between; raises OSError."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    aside.write_text(html, encoding="utf-8")
    return aside.replace(file)
