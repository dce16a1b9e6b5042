"""What becomes of each selected stage, by the very keys and the very store that the run will use; writes nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from phi_runner import artifacts, keys
from phi_runner.artifacts import Artifact
from phi_runner.config.schema import RunConfig, StageName
from phi_runner.errors import MissingInput
from phi_runner.keys import Change
from phi_runner.lookup import Lookup
from phi_runner.plan import world
from phi_runner.plan.document import Input, StagePlan, Verdict
from phi_runner.plan.unfinished import continued
from phi_runner.stages import row
from phi_runner.stages.stage import Inputs, Stage
from phi_runner.store import Parts, Store, key_of

_THIS_RUN = "this run"


@dataclass(slots=True, kw_only=True)
class Decisions:
    """The row of stages, walked through from the first to the last."""

    config: RunConfig
    lookup: Lookup
    stages: list[StagePlan] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    keys: dict[StageName, str] = field(default_factory=dict)
    """Of every result that the run uses, as far as they can be known."""
    artifacts: dict[StageName, Artifact] = field(default_factory=dict)
    """Of the stored results among them."""
    _origins: dict[StageName, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The store that results are looked for in."""
        return self.lookup.store

    @property
    def reused(self) -> list[StageName]:
        """Stages that will not run."""
        return [item.name for item in self.stages if item.verdict in {Verdict.reuse, Verdict.skip}]

    def verdict(self, name: StageName) -> Verdict | None:
        """Return what becomes of a stage; None where it is not selected."""
        return next((item.verdict for item in self.stages if item.name is name), None)

    def walk(self) -> "Decisions":
        """Decide on every selected stage."""
        for stage in row(self.config):
            if stage.name in self.config.stages:
                self.stages.append(self._decided(world.offline(stage)))
        return self

    def _decided(self, stage: Stage) -> StagePlan:
        if reason := stage.skip(self.config):
            return StagePlan(name=stage.name, verdict=Verdict.skip, why=reason)
        missing = self._read(stage)
        inputs = tuple(
            Input(stage=name, key=self.keys.get(name, ""), origin=self._origins.get(name, _THIS_RUN))
            for name in sorted(_wanted(stage, self.config), key=list(StageName).index)
        )
        if missing or self._stopped():
            self._foresee(stage)
            verdict = Verdict.unreached if self._stopped() else Verdict.stop
            why = "the run stops before it" if self._stopped() else missing
            key = self.keys.get(stage.name, "")
            return StagePlan(name=stage.name, verdict=verdict, why=why, key=key, inputs=inputs)
        if stage.produces is None:
            return StagePlan(name=stage.name, verdict=Verdict.run, why="always runs", inputs=inputs)
        return self._held_against_store(stage, inputs)

    def _stopped(self) -> bool:
        return any(item.verdict is Verdict.stop for item in self.stages)

    def _read(self, stage: Stage) -> str:
        """Look for the results that the stage reads and no stage of this run makes, and say what is missing."""
        for name in sorted(_wanted(stage, self.config), key=list(StageName).index, reverse=True):
            if name in self.artifacts or self._is_made(name) or (name in self.keys and self._stopped()):
                continue
            try:
                found = self.lookup.find(name, reader=stage.name, known=self.keys)
            except MissingInput as err:
                if not self._stopped():
                    self.problems.append(str(err))
                self._foresee(self.lookup.stages[name])
                return f"the result of {name} is missing"
            self.artifacts[name] = found.artifact
            self.keys |= found.ancestors | {name: found.key}
            self._origins[name] = found.why
        return ""

    def _is_made(self, name: StageName) -> bool:
        """Say whether an earlier stage of this run leaves the result."""
        return self.verdict(name) not in {None, Verdict.skip}

    def _foresee(self, stage: Stage) -> None:
        """Note the key that a result would have once everything before it is made."""
        if stage.produces is None or stage.name in self.keys:
            return
        for name in stage.reads(self.config):
            self._foresee(self.lookup.stages[name])
        try:
            self.keys[stage.name] = key_of(self._parts(stage))
        except (OSError, KeyError):  # a local input, or a result before it, cannot be known
            return

    def _parts(self, stage: Stage) -> Parts:
        return keys.parts(stage, self.config, Inputs(self.artifacts, self.keys))

    def _held_against_store(self, stage: Stage, inputs: tuple[Input, ...]) -> StagePlan:
        parts = self._parts(stage)
        key = self.keys[stage.name] = key_of(parts)
        why, changes = self._why_run(stage, parts, key)
        folder = self.store.folder(stage.name, key)
        unsure = ""
        if not why:
            artifact = self.artifacts[stage.name] = self._stored(stage, key)
            unsure = world.unsure(self.config, artifact)
        return StagePlan(
            name=stage.name, verdict=Verdict.run if why else Verdict.reuse,
            why=why or "nothing it depends on has changed", changes=tuple(changes), unsure=unsure, key=key,
            inputs=inputs, output=folder,
        )  # fmt: skip

    def _why_run(self, stage: Stage, parts: Parts, key: str) -> tuple[str, list[Change]]:
        """Say why the stage runs, nothing where its result is stored and stands, and what parts the two keys."""
        goes_on = continued(self.config, self.store, stage, key)
        if stage.name in self.config.force:
            return "; ".join(filter(None, (f"force=[{stage.name}]", goes_on))), []
        manifest, damage = self.store.look(stage.name, key)
        if damage:
            return f"the stored result is damaged ({damage})", []
        if manifest or self.store.finished_work(stage.name, key):
            return self._stands(stage, key), []
        if goes_on:
            return goes_on, []
        stored = [manifest.parts for manifest in self.store.manifests(stage.name)]
        changes = keys.changes(stored, parts) if stored else []
        return keys.in_one_line(changes) if stored else "no result yet", changes

    def _stored(self, stage: Stage, key: str) -> Artifact:
        assert stage.produces is not None  # noqa: S101 - the caller has checked it
        return artifacts.load(stage.produces, folder=self._place(stage, key))

    def _place(self, stage: Stage, key: str) -> Path:
        return self.store.finished_work(stage.name, key) or self.store.folder(stage.name, key)

    def _stands(self, stage: Stage, key: str) -> str:
        """Say why the stored result of this very key cannot be taken, or nothing."""
        assert stage.produces is not None  # noqa: S101 - as above
        artifact = artifacts.read(stage.produces, folder=self._place(stage, key))
        if artifact is None:
            return "it was stored by another version"
        anew = [name for name in stage.reads(self.config) if self._made_anew(name)]
        if not stage.pure and anew:
            return f"{' and '.join(anew)} is made anew"
        return stage.still_true(self.config, artifact, self.lookup.outputs)

    def _made_anew(self, name: StageName) -> bool:
        """Say whether a stage whose result is a thing in the world runs, and so leaves another thing."""
        return not self.lookup.stages[name].pure and self.verdict(name) is Verdict.run


def _wanted(stage: Stage, config: RunConfig) -> set[StageName]:
    return {*stage.reads(config), *stage.uses(config)}
