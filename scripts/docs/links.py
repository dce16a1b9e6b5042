"""Every link, anchor and picture of the built site leads somewhere, and nothing is fetched from elsewhere.

`python -m scripts.docs.links build/site` ends with 1 and a line for each that does not; `--external` lists the links
that leave the site, which are not followed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {"a": "href", "area": "href"}
_LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
_NOT_LOADED = {"canonical", "next", "prev", "edit", "alternate"}
"""What a `link` may say without anything being fetched."""


@dataclass(slots=True)
class Document(HTMLParser):
    """The links, what is loaded, and the anchors of one page."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an element names."""
        given = {name: value or "" for name, value in attrs}
        self.anchors += [given[name] for name in ("id", "name") if given.get(name) and (name == "id" or tag == "a")]
        if tag in _LINKS and given.get(_LINKS[tag]):
            self.links.append(given[_LINKS[tag]])
        elif tag in _LOADED and given.get(_LOADED[tag]) and given.get("rel") not in _NOT_LOADED:
            self.loaded.append(given[_LOADED[tag]])


def read(site: Path) -> dict[Path, Document]:
    """Return every page of a site by its file."""
    found = {}
    for file in sorted(site.rglob("*.html")):
        found[file] = Document()
        found[file].feed(file.read_text(encoding="utf-8"))
    return found


def problems(site: Path) -> Iterator[str]:
    """Yield one line for each link, picture, script or anchor that leads nowhere or out of the site."""
    pages = read(site)
    for file, document in pages.items():
        name = file.relative_to(site)
        yield from (f"{name} loads {url} from elsewhere" for url in document.loaded if _is_external(url))
        inside = [url for url in (*document.links, *document.loaded) if not _is_external(url)]
        yield from (f"{name}: {told}" for url in inside if (told := _problem(url, file, site=site, pages=pages)))
        twice = {anchor for anchor in document.anchors if document.anchors.count(anchor) > 1}
        yield from (f"{name} has the anchor {anchor} twice" for anchor in sorted(twice))


def external(site: Path) -> list[str]:
    """Return the links that leave the site."""
    return sorted({url for document in read(site).values() for url in document.links if _is_external(url)})


def _is_external(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "mailto")


def _problem(url: str, file: Path, *, site: Path, pages: dict[Path, Document]) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("data", "javascript"):
        return ""
    path = unquote(parts.path)
    target = site / path.lstrip("/") if path.startswith("/") else (file.parent / path) if path else file
    target = target.resolve() / "index.html" if target.is_dir() else target.resolve()
    if not target.is_file():
        return f"{url} leads nowhere"
    known = pages.get(target)
    anchor = unquote(parts.fragment)
    if anchor and known and anchor not in known.anchors:
        return f"{url}: {target.name} has no anchor {anchor}"
    return ""


def main() -> int:
    """Check the site that is named, and say what was looked at."""
    site = Path(next(word for word in sys.argv[1:] if not word.startswith("-"))).resolve()
    if "--external" in sys.argv:
        print("\n".join(external(site)))
        return 0
    wrong = list(problems(site))
    for problem in wrong:
        print(problem, file=sys.stderr)
    pages = read(site)
    links = sum(len(document.links) + len(document.loaded) for document in pages.values())
    print(f"{len(pages)} pages, {links} links, {sum(len(page.anchors) for page in pages.values())} anchors checked")
    return 1 if wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
