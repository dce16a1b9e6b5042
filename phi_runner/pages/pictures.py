"""Plots in a page: SVG inline with ids of its own, PNG as a data address."""

import base64
import hashlib
import re
from collections.abc import Iterable
from xml.etree import ElementTree

from markupsafe import Markup, escape

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_DROPPED = frozenset({"script", "metadata", "foreignObject", "style", "a"})
"""What may run, is never seen, or (matplotlib's one sheet) holds for the whole page: `page.css` says the same."""
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attributes(element: ElementTree.Element, *, mark: str) -> Iterable[tuple[str, str]]:
    for name, value in element.attrib.items():
        local = _local(name)
        if local.startswith("on"):
            continue
        if local == "id":
            yield "id", mark + value
        elif local == "href":
            if value.startswith("#"):
                yield "href", f"#{mark}{value[1:]}"
            elif value.startswith("data:image/png;"):
                yield "href", value
        elif local in ("aria-labelledby", "aria-describedby"):
            yield local, " ".join(mark + part for part in value.split())
        else:
            yield local, _REFERENCE.sub(lambda found: f"url(#{mark}{found[1]})", value)


def _written(element: ElementTree.Element, *, mark: str) -> Markup:
    """Return an element and all within it as HTML; comments and what is not SVG are left out."""
    if not isinstance(element.tag, str) or _local(element.tag) in _DROPPED:
        return Markup("")
    name = _local(element.tag)
    attributes = Markup("").join(
        Markup(' {}="{}"').format(key, value) for key, value in _attributes(element, mark=mark)
    )
    inside = [escape(element.text or "")]
    for child in element:
        inside += [_written(child, mark=mark), escape((child.tail or "").strip())]
    return Markup("<{0}{1}>{2}</{0}>").format(name, attributes, Markup("").join(inside))


def svg(text: str, *, caption: str, paper: bool = False) -> Markup:
    """Return a figure with the plot itself; its ids become unique by its content, so that plots never meet.

    `paper=True` puts it on white, which a plot with dark ink of its own (matplotlib's) needs in dark mode.
    Raises ValueError when the text is no SVG.
    """
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (plots of this program)
    except ElementTree.ParseError as err:
        raise ValueError(f"{caption}: the plot is no SVG: {err}") from err
    if _local(root.tag) != "svg":
        raise ValueError(f"{caption}: the plot is no SVG but <{_local(root.tag)}>")
    _fit(root)
    root.set("aria-label", caption)
    mark = f"p{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    drawn = _written(root, mark=mark)
    return _figure(drawn, caption=caption, paper=paper)


def _fit(root: ElementTree.Element) -> None:
    """Give the plot a view box instead of a fixed size, so that it is as wide as its column."""
    width, height = root.attrib.pop("width", ""), root.attrib.pop("height", "")
    if "viewBox" not in root.attrib and width and height:
        sizes = (re.sub(r"[a-z%]+$", "", size) for size in (width, height))
        root.set("viewBox", "0 0 " + " ".join(sizes))
    if root.get("role") is None:
        root.set("role", "img")


def png(content: bytes, *, caption: str) -> Markup:
    """Return a figure with the picture's bytes in it."""
    address = "data:image/png;base64," + base64.b64encode(content).decode()
    return _figure(Markup('<img alt="{}" src="{}">').format(caption, address), caption=caption, paper=True)


def _figure(picture: Markup, *, caption: str, paper: bool) -> Markup:
    start = Markup('<figure class="paper">') if paper else Markup("<figure>")
    return start + Markup("{}<figcaption>{}</figcaption></figure>").format(picture, caption)


def plots(*figures: Markup) -> Markup:
    """Return figures side by side where there is room."""
    return Markup('<div class="plots">{}</div>').format(Markup("").join(figures))
