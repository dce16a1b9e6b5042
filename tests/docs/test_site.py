"""The site builds without a warning, its links lead somewhere, it fetches nothing, and its search knows the words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phi_runner.config import places
from phi_runner.config.vocabulary import RECIPE, vocabulary
from scripts.docs import links
from tests.docs import pages

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, strictly, with no way out of this machine."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=pages.ROOT, text=True,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_link_anchor_and_picture_leads_somewhere(site: Path) -> None:
    assert list(links.problems(site)) == []
    assert all(url.startswith("https://") for url in links.external(site))


def test_every_page_is_in_the_site(site: Path) -> None:
    for page in (pages.ROOT / "docs").glob("*.md"):
        assert (site / page.with_suffix(".html").name).is_file()
    assert "Keep a Changelog" in (site / "changelog.html").read_text()


def test_the_search_knows_every_setting_and_works_from_a_file(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    text = "\n".join(entry["text"] for entry in index["docs"])
    missing = [path for path, key in vocabulary().keys.items() if not key.is_table and path not in text]
    assert missing == []
    assert "iframe-worker" in (site / "index.html").read_text()


def test_the_reference_has_every_option(site: Path) -> None:
    shown = (site / "reference" / "configuration.html").read_text()
    for group, options in vocabulary().groups.items():
        for option in options.values():
            prefix = "+" if group == RECIPE else ""
            assert f"<code>{prefix}{group}={option.name}</code>" in shown
            assert option.about.split("(")[0].split("`")[0].split("'")[0].strip() in shown
    assert places.folder("conf").is_dir()


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<h1 id="a">A</h1><a href="#b">x</a><a href="gone.html">x</a><img src="no.png"><p id="a">'
        '<script src="https://cdn.example.org/x.js"></script><a href="https://example.org">out</a><a href="#a">good</a>'
    )
    assert list(links.problems(tmp_path)) == [
        "index.html loads https://cdn.example.org/x.js from elsewhere",
        "index.html: #b: index.html has no anchor b",
        "index.html: gone.html leads nowhere",
        "index.html: no.png leads nowhere",
        "index.html has the anchor a twice",
    ]
    assert links.external(tmp_path) == ["https://example.org"]
