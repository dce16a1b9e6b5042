"""What a stage is: a name, what it reads, what decides its result, and the function that makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from phi_runner.artifacts import Artifact
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.events import StageEvents

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The results that a stage reads, by the stage that made them."""

    artifacts: Mapping[StageName, Artifact]
    keys: Mapping[StageName, str]

    def get(self, stage: StageName, kind: type[_Kind]) -> _Kind:
        """Return the result of `stage`; the runner has checked that it is there and of that kind."""
        return cast("_Kind", self.artifacts[stage])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDir:
    """Where a stage works: `folder` becomes its result, `scratch` does not; both survive an interruption."""

    folder: Path
    outputs: Path
    key: str
    events: StageEvents

    @property
    def scratch(self) -> Path:
        """Where checkpoints and the like go: beside the result, removed once it is in place."""
        return self.folder.with_name(f"{self.folder.name.removesuffix('.partial')}.scratch")


def nothing(_config: RunConfig) -> list[Path]:
    """Name no local files."""
    return []


def no_facts(_config: RunConfig) -> dict[str, str]:
    """Tell nothing."""
    return {}


def always(_config: RunConfig) -> str:
    """Skip for no reason; lie in no special place."""
    return ""


def unchanged(_config: RunConfig, _artifact: Artifact, _outputs: Path) -> str:
    """Find nothing wrong with a stored result: a pure stage's result does not depend on the world."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row of the pipeline."""

    name: StageName
    about: str
    """One line for `--help`."""
    run: Callable[[RunConfig, Inputs, RunDir], Artifact | None]
    produces: type[Artifact] | None
    reads: Callable[[RunConfig], tuple[StageName, ...]] = field(default=lambda _config: ())
    uses: Callable[[RunConfig], tuple[StageName, ...]] = field(default=lambda _config: ())
    """Results that say where the stage works and so do not decide what comes out: the Azure workspace."""
    place: Callable[[RunConfig], str] = always
    """Where the result lies, when that is not this machine: one workspace's model version is not another's."""
    config_parts: tuple[str, ...] = ()
    """Parts of the config that decide the result: `data`, `seed` ..."""
    undecided: tuple[str, ...] = ()
    """Paths inside those parts that do not: how often it is saved, how much memory it may take ..."""
    local_inputs: Callable[[RunConfig], list[Path]] = nothing
    """Local files and folders whose bytes decide the result."""
    told: Callable[[RunConfig], dict[str, str]] = no_facts
    """What tells local files apart that are too large to be hashed, by their names."""
    code: tuple[str, ...] = ()
    """Files and folders of the package whose source decides the result."""
    libraries: tuple[str, ...] = ()
    """Distributions whose version decides the result."""
    pure: bool = True
    """False: the result is a thing in the world, checked by `still_true` before it is reused."""
    still_true: Callable[[RunConfig, Artifact, Path], str] = unchanged
    """Say what is wrong with a stored result, or nothing."""
    skip: Callable[[RunConfig], str] = always
    """Say why there is nothing to do under this config, or nothing."""
    warm_up: Callable[[RunConfig], None] | None = None
    """Slow imports that the runner may start in a thread while the stage before only waits."""
    interactive: bool = False
    """True: the stage talks to a person, so the live view makes room."""
    inspect: Callable[[RunConfig, Artifact, RunDir], None] | None = None
    """Look at a result, made or reused, and say what is wrong with it; works in the run's folder, decides no key."""
