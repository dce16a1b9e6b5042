"""What MkDocs calls while it builds: pages that are made or lie elsewhere, and tables that a phone can show."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.docs import reference

_ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files at the top of the repository, where people look for them first."""
_WIDE = 3
"""Columns from which a table becomes a list of cards on a phone."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated reference and the pages that lie elsewhere."""
    files.append(File.generated(config, "reference/configuration.md", content=reference.page()))
    for name, path in _ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(_ROOT / path)))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write above every cell of a wide table what its column is called; the style sheet shows it on phones."""
    return re.sub(r"<table>.*?</table>", lambda found: _labelled(found[0]), html, flags=re.DOTALL)


def _labelled(table: str) -> str:
    names = [re.sub(r"<[^>]+>", "", name).strip() for name in re.findall(r"<th[^>]*>(.*?)</th>", table, re.DOTALL)]
    if len(names) < _WIDE:
        return table
    cells = iter(range(table.count("<td")))

    def label(_found: re.Match[str]) -> str:
        return f'<td data-label="{names[next(cells) % len(names)]}"'

    return re.sub(r"<td", label, table).replace("<table>", "<table data-cards>")
