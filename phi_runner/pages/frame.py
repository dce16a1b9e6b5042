"""One self-contained HTML document from a title and its sections."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and nothing runs; styles stand in the page, and plots carry some at their elements."""
_ID = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with an anchor of its own; `body` is markup that `pieces` and `pictures` have made."""

    id: str
    title: str
    body: Markup

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"a section's id is lower-case letters, digits, - and _, not {self.id!r}")


@cache
def templates() -> Environment:
    """Return the environment that escapes whatever is not Markup and refuses an unknown name."""
    return Environment(
        loader=PackageLoader("phi_runner.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> Markup:
    return Markup(files("phi_runner.pages").joinpath("page.css").read_text(encoding="utf-8"))  # noqa: S704 (our own file)


def page(
    title: str,
    *,
    sections: Iterable[Section],
    subtitle: str | Markup = "",
    lead: Markup | None = None,
    foot: str | Markup = "",
) -> str:
    """Return the whole document: `lead` stands above a table of contents with an entry per section.

    Raises ValueError when two sections have one id.
    """
    parts = list(sections)
    names = [part.id for part in parts]
    if len(set(names)) != len(names):
        raise ValueError(f"two sections of {title!r} have the same id: {', '.join(names)}")
    return (
        templates()
        .get_template("page.html")
        .render(
            title=title, subtitle=subtitle, lead=lead, sections=parts, foot=foot, style=_style(), policy=POLICY
        )
    )  # fmt: skip
