"""One override as it was typed, free of Hydra's own classes."""

from dataclasses import dataclass
from enum import StrEnum, auto


class Sign(StrEnum):
    """What stands before the key."""

    set = ""
    add = "+"
    force = "++"
    remove = "~"


class Sweep(StrEnum):
    """How several values were written."""

    none = auto()
    listed = auto()
    """`a,b` and `choice(a,b)`"""
    counted = auto()
    """`range(1,4)`"""
    interval = auto()
    glob = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """One override: its parts, and the values that it takes in turn."""

    text: str
    sign: Sign
    key: str
    package: str = ""
    values: tuple[object, ...] = (None,)
    """One value; several in a sweep. An interval has its two ends."""
    sweep: Sweep = Sweep.none

    @property
    def about_hydra(self) -> bool:
        """Whether Hydra itself is told something."""
        return self.key == "hydra" or self.key.startswith(("hydra.", "hydra/"))

    @property
    def raw(self) -> str:
        """The value as typed."""
        return self.text.partition("=")[2]

    def spelled(self, value: object) -> str:
        """Return `key=value` for one of the values."""
        return self.text if self.sweep is Sweep.none else f"{self.key}={as_text(value)}"


def as_text(value: object) -> str:
    """Return a value as a person types it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(as_text(item) for item in value) + "]"
    return str(value)
