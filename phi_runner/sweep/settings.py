"""What a whole sweep is told, kept in its folder: the trials may run in other processes than the one that ends it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phi_runner.config.objectives import OBJECTIVES, Objective
from phi_runner.config.schema import RunConfig, TrackingConfig
from phi_runner.config.schema.sweep import ObjectiveName
from phi_runner.store import write_json

_FILE = ".settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parts of the config that are about all trials together."""

    objective: ObjectiveName = ObjectiveName.loss_after
    outputs: str = "outputs"
    experiment: str = ""
    tracking_uri: str = ""

    @property
    def compared_by(self) -> Objective:
        """The objective with its better side."""
        return OBJECTIVES[self.objective]

    @property
    def tracking(self) -> TrackingConfig:
        """Where the sweep's own run is recorded."""
        return TrackingConfig(experiment=self.experiment, uri=self.tracking_uri)


def leave(config: RunConfig, *, folder: Path) -> None:
    """Keep what a trial's config says of the sweep in `folder`; all trials of a call say the same."""
    settings = Settings(
        objective=config.sweep.objective, outputs=str(Path(config.outputs).expanduser().resolve()),
        experiment=config.tracking.experiment, tracking_uri=config.tracking.uri,
    )  # fmt: skip
    if read(folder) != settings:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _FILE, asdict(settings))


def read(folder: Path) -> Settings:
    """Return what the last call said; the defaults where no trial came so far."""
    try:
        told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return Settings(**told | {"objective": ObjectiveName(told["objective"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Settings()
