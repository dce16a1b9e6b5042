"""Find a stored result for a stage that is not selected: the exact one, else the newest that fits what was asked."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi_runner import artifacts, keys
from phi_runner.artifacts import Artifact
from phi_runner.config import places
from phi_runner.config.dump import flat
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput
from phi_runner.stages.stage import Inputs, Stage
from phi_runner.store import Manifest, Parts, Store, key_of

Keys = Mapping[StageName, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A stored result, why it was chosen, and the keys of all results that it was made from."""

    key: str
    artifact: Artifact
    why: str
    ancestors: dict[StageName, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The store, seen with one run's config, recipe and typed overrides."""

    store: Store
    config: RunConfig
    recipe: str
    overrides: list[str]
    stages: dict[StageName, Stage]
    outputs: Path

    def find(self, name: StageName, *, reader: StageName, known: Keys) -> Found:
        """Return the stored result of a stage for `reader`; raises MissingInput with the command that makes it.

        `known` holds the keys of the results that this run uses already: what is found was made from those and no
        others, or a model could be measured on rows that it was trained on.
        """
        found = self._known(name, known) if name in known else self._exact(name, known) or self._newest(name, known)
        if found is None:
            raise MissingInput(self._missing(name, reader=reader))
        return found

    def _missing(self, name: StageName, *, reader: StageName) -> str:
        needed = self._upstream(reader)
        chosen = ",".join(stage for stage in StageName if stage in needed or stage in self.config.stages)
        typed = [item for item in self.overrides if not item.startswith("stages=")]
        fitting = " that fits the rest of this run" if self._asked() else ""
        command = shlex.join(["python", "-m", "phi_runner", *typed, f"stages=[{chosen}]"])
        without = ""
        if (name, reader) == (StageName.evaluate, StageName.register):
            without = ", or evaluate.gate=never to register a model that nobody has measured"
        return (
            f"{reader} reads the result of {name}, which is not selected, and none is stored{fitting}; type: {command}"
            f"{without}"
        )

    def _upstream(self, name: StageName) -> set[StageName]:
        stage = self.stages[name]
        above = (*stage.reads(self.config), *stage.uses(self.config))
        return {name}.union(*(self._upstream(read) for read in above))

    def _load(self, name: StageName, manifest: Manifest, *, known: Keys, why: str) -> Found | None:
        """Return the result if it is whole, still true, and made from the `known` results where they are known."""
        kind = self.stages[name].produces
        if kind is None or self.store.look(name, manifest.key)[0] is None:
            return None
        ancestors = self._ancestors(manifest)
        if any(known.get(stage, key) != key for stage, key in ancestors.items()):
            return None
        artifact = artifacts.read(kind, folder=self.store.folder(name, manifest.key))
        if artifact is None or self.stages[name].still_true(self.config, artifact, self.outputs):
            return None
        return Found(key=manifest.key, artifact=artifact, why=why, ancestors=ancestors)

    def _known(self, name: StageName, known: Keys) -> Found | None:
        """Return the very result that another one in use was made from."""
        manifest, _damage = self.store.look(name, known[name])
        return self._load(name, manifest, known=known, why="what the rest was made from") if manifest else None

    def _exact(self, name: StageName, known: Keys) -> Found | None:
        """Return the result that this very config would make."""
        stage, above = self.stages[name], {}
        for read in stage.reads(self.config):
            found = self._exact(read, known)
            if found is None:
                return None
            above[read] = found
        inputs = Inputs({n: f.artifact for n, f in above.items()}, {n: f.key for n, f in above.items()})
        try:
            key = key_of(keys.parts(stage, self.config, inputs))
        except OSError:  # a local input of that stage is not there; its stored result may still be
            return None
        manifest, _damage = self.store.look(name, key)
        return self._load(name, manifest, known=known, why="stored for this very config") if manifest else None

    def _newest(self, name: StageName, known: Keys) -> Found | None:
        """Return the newest result whose whole lineage agrees with what was typed or chosen by the recipe."""
        asked = self._asked()
        above = [self.stages[stage] for stage in self._upstream(name)]
        wanted = {
            part: text
            for part, text in asked.items()
            if any(keys.decides(stage, part.partition(":")[2]) for stage in above)
        }
        for manifest in self.store.manifests(name):
            lineage = self._lineage(manifest)
            if all(lineage.get(part) == text for part, text in wanted.items()):
                made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.made_at))
                found = self._load(name, manifest, known=known, why=f"newest stored one that fits, made {made}")
                if found:
                    return found
        return None

    def _asked(self) -> Parts:
        """Return the parts of the config that somebody chose: by an override, or by the recipe's choice of a preset."""
        before, after = places.chosen(), places.chosen(self.recipe)
        paths = [group for group, option in after.items() if before.get(group) != option]
        paths += [override.lstrip("+").partition("=")[0].partition("@")[0] for override in self.overrides]
        asked: Parts = {}
        for path in paths:
            top = path.partition(".")[0]
            if top not in {"stages", "force", "recipe", "outputs"} and hasattr(self.config, top):
                everything = flat(self.config, part=top)
                chosen = {p: t for p, t in everything.items() if p == path or p.startswith(f"{path}.")}
                asked |= {f"config:{p}": t for p, t in chosen.items()}
        return asked

    def _above(self, manifest: Manifest) -> list[Manifest]:
        found = (self.store.look(stage, key)[0] for stage, key in manifest.inputs.items())
        return [item for item in found if item is not None]

    def _ancestors(self, manifest: Manifest) -> dict[StageName, str]:
        own = {StageName(stage): key for stage, key in manifest.inputs.items()}
        for item in self._above(manifest):
            own = self._ancestors(item) | own
        return own

    def _lineage(self, manifest: Manifest) -> Parts:
        parts = dict(manifest.parts)
        for item in self._above(manifest):
            parts = self._lineage(item) | parts
        return parts
