"""Where a stage works, as the ways of performing it elsewhere see it."""

from pathlib import Path
from typing import Protocol

from phi_runner.events import StageEvents


class Place(Protocol):
    """Where a stage works, as `stages.stage.RunDir` says it."""

    @property
    def folder(self) -> Path:
        """Becomes the result."""

    @property
    def scratch(self) -> Path:
        """Removed once the result is in place."""

    @property
    def outputs(self) -> Path:
        """The run's outputs."""

    @property
    def key(self) -> str:
        """The result's key."""

    @property
    def events(self) -> StageEvents:
        """Who is told."""
