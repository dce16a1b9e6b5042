"""Read a page as a browser would: elements that are closed in order, ids, links, and whatever it would load."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page holds; `faults` are elements that are closed out of order or not at all."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{name}> is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links and what would be loaded."""
        self.tags.append(tag)
        if tag not in _VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a"):
                self.loads.append(value or "")
            elif name.startswith("on"):
                self.faults.append(f"<{tag} {name}> would run something")

    def handle_endtag(self, tag: str) -> None:
        """Check the order in which elements are closed."""
        if tag in _VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:] or 'nothing'}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Keep what a person reads."""
        self.text += data


def read(html: str, *, folder: Path | None = None) -> Page:
    """Return a page that is sound: elements closed, ids once, anchors and files that are there, nothing loaded."""
    page = Page(html)
    assert page.faults == []
    assert len(set(page.ids)) == len(page.ids), "an id stands twice"
    assert "script" not in page.tags
    for target in page.links:
        if target.startswith("#"):
            assert target[1:] in page.ids, f"the anchor {target} leads nowhere"
        elif folder is not None:
            assert (folder / unquote(target)).exists(), f"the link {target} leads nowhere"
    outside = [address for address in page.loads if not address.startswith(("#", "data:image/"))]
    assert outside == [], "the page would load something"
    return page
