"""Find a stored result for a stage that is not selected: the exact one, else the newest that fits what was typed."""

import time
from dataclasses import dataclass
from pathlib import Path

from phi_runner import artifacts, keys
from phi_runner.artifacts import Artifact
from phi_runner.config.dump import flat
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput
from phi_runner.stages.stage import Inputs, Stage
from phi_runner.store import Manifest, Parts, Store, key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A stored result and why it was chosen."""

    key: str
    artifact: Artifact
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The store, seen with one run's config and typed overrides."""

    store: Store
    config: RunConfig
    overrides: list[str]
    stages: dict[StageName, Stage]
    outputs: Path

    def find(self, name: StageName, *, reader: StageName) -> Found:
        """Return the stored result of a stage for `reader`; raises MissingInput with the command that makes it."""
        found = self._exact(name) or self._newest(name)
        if found is None:
            raise MissingInput(self._missing(name, reader=reader))
        return found

    def _missing(self, name: StageName, *, reader: StageName) -> str:
        needed = self._upstream(reader)
        chosen = ",".join(stage for stage in StageName if stage in needed or stage in self.config.stages)
        typed = [item for item in self.overrides if not item.startswith("stages=")]
        fitting = " that fits these overrides" if self._typed() else ""
        command = " ".join(["python -m phi_runner", *typed, f"'stages=[{chosen}]'"])
        return (
            f"{reader} reads the result of {name}, which is not selected, and none is stored{fitting}; type: {command}"
        )

    def _upstream(self, name: StageName) -> set[StageName]:
        return {name}.union(*(self._upstream(read) for read in self.stages[name].reads(self.config)))

    def _load(self, name: StageName, manifest: Manifest, why: str) -> Found | None:
        kind = self.stages[name].produces
        if kind is None or self.store.look(name, manifest.key)[0] is None:
            return None
        artifact = artifacts.load(kind, folder=self.store.folder(name, manifest.key))
        if self.stages[name].still_true(self.config, artifact, self.outputs):
            return None
        return Found(key=manifest.key, artifact=artifact, why=why)

    def _exact(self, name: StageName) -> Found | None:
        """Return the result that this very config would make."""
        stage, above = self.stages[name], {}
        for read in stage.reads(self.config):
            found = self._exact(read)
            if found is None:
                return None
            above[read] = found
        inputs = Inputs({n: f.artifact for n, f in above.items()}, {n: f.key for n, f in above.items()})
        try:
            key = key_of(keys.parts(stage, self.config, inputs))
        except OSError:  # a local input of that stage is not there; its stored result may still be
            return None
        manifest, _damage = self.store.look(name, key)
        return self._load(name, manifest, "stored for this very config") if manifest else None

    def _newest(self, name: StageName) -> Found | None:
        """Return the newest result whose whole lineage agrees with every override that was typed."""
        wanted = self._typed()
        for manifest in self.store.manifests(name):
            lineage = self._lineage(manifest)
            if all(lineage.get(part, text) == text for part, text in wanted.items()):
                made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.made_at))
                found = self._load(name, manifest, f"newest stored one that fits, made {made}")
                if found:
                    return found
        return None

    def _typed(self) -> Parts:
        wanted: Parts = {}
        for override in self.overrides:
            path = override.lstrip("+").partition("=")[0].partition("@")[0]
            top = path.partition(".")[0]
            if top in {"data", "model", "train", "seed", "evaluate"}:
                everything = flat(self.config, part=top)
                chosen = {p: t for p, t in everything.items() if p == path or p.startswith(f"{path}.")}
                wanted |= {f"config:{p}": t for p, t in chosen.items()}
        return wanted

    def _lineage(self, manifest: Manifest) -> Parts:
        parts = dict(manifest.parts)
        for stage, key in manifest.inputs.items():
            above, _damage = self.store.look(stage, key)
            if above:
                parts = self._lineage(above) | parts
        return parts
