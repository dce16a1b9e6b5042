"""A study that survives: what to try next, from what was tried before, in this process or in one that was killed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_runner.search import samplers
from phi_runner.search.journal import storage
from phi_runner.search.samplers import SamplerName
from phi_runner.search.space import Axis, Plain

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_NEVER_BEGAN = "never began"
"""Marks a question that a killed process had not finished asking; it counts for nothing."""
JOURNAL = "study.journal"
MEMBERS = ".study.json"
"""Ids of the trials that a study is about, in the sweep's folder."""


class End(StrEnum):
    """How a trial ended."""

    done = auto()
    pruned = auto()
    failed = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One trial to run: its number in the study, and its overrides' values as they are spelled."""

    number: int
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How a trial ended, and what it showed."""

    end: End
    value: float | None = None
    """The objective."""
    curve: tuple[tuple[int, float], ...] = ()
    """Held-out losses while it trained, by the share of the training in percent."""
    values: Mapping[str, Plain] = field(default_factory=dict)
    """What it tried; needed where the study may not know it."""


@dataclass(kw_only=True)
class Search:
    """The search over some axes; everything that it must not forget lies in its storage."""

    axes: Sequence[Axis]
    place: str | Path
    """File of the journal, or an address such as `sqlite:///file`."""
    name: str = ""
    """Name of the study; empty: one for each search space."""
    sampler: SamplerName = SamplerName.tpe
    seed: int = 0
    maximise: bool = False
    about: str = ""
    """What the objective is; another one is another study."""

    @cached_property
    def study(self) -> "Study":
        """The study, opened again where it was begun before."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna.create_study(
            storage=storage(self.place), study_name=self.name or self.space_name, load_if_exists=True,
            direction="maximize" if self.maximise else "minimize",
        )  # fmt: skip

    @property
    def space_name(self) -> str:
        """A name that follows from space and objective: another of them cannot go on with the same study."""
        told = [self.about, self.maximise, *(repr(axis) for axis in sorted(self.axes, key=lambda axis: axis.key))]
        return f"sweep_{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]}"

    @property
    def finished(self) -> int:
        """How many trials need not run again."""
        return len(self._trials("COMPLETE", "PRUNED"))

    def learn(self, findings: Iterable[Finding]) -> int:
        """Add finished trials that this study does not know, a grid's or a lost study's; return how many."""
        known = {self._spelled(trial.params) for trial in self.study.trials}
        added = 0
        for finding in findings:
            params = self._params(finding.values)
            if params is None or finding.end is End.failed or self._spelled(params) in known:
                continue
            self._add(finding, params)
            known.add(self._spelled(params))
            added += 1
        return added

    def next(self, *, most: int) -> list[Asked]:
        """Return up to `most` trials: those that a killed process was at, then those that failed, then new ones."""
        begun = [self._asked(trial) for trial in self._begun()[:most]]
        while len(begun) < most:
            self.study.sampler = samplers.make(self.sampler, seed=self.seed, number=self._number())
            trial = self.study.ask({axis.key: axis.distribution() for axis in self.axes})
            begun.append(self._asked(trial))
        return begun

    def retry_failed(self) -> None:
        """Put the trials that failed, and that nobody has tried since, at the head of the queue."""
        good = {self._spelled(trial.params) for trial in self._trials("COMPLETE", "PRUNED", "RUNNING", "WAITING")}
        failed = [trial for trial in self._trials("FAIL") if _NEVER_BEGAN not in trial.user_attrs]
        for trial in failed:
            spelled = self._spelled(trial.params)
            if spelled not in good:
                self.study.enqueue_trial(trial.params)
                good.add(spelled)

    def holds(self, values: Mapping[str, Plain]) -> bool:
        """Say whether a trial's values lie in the space of this search."""
        return self._params(values) is not None

    def tell(self, asked: Asked, finding: Finding) -> None:
        """Tell the study how a trial ended."""
        from optuna.trial import Trial, TrialState

        frozen = self.study.trials[asked.number]
        if frozen.state.is_finished():
            return
        trial = Trial(self.study, frozen._trial_id)  # the only way to a trial that another process has begun
        for step, loss in finding.curve:
            if step not in frozen.intermediate_values:
                trial.report(loss, step)
        if finding.end is End.done and finding.value is not None:
            self.study.tell(asked.number, finding.value)
        else:
            state = TrialState.PRUNED if finding.end is End.pruned else TrialState.FAIL
            self.study.tell(asked.number, state=state)

    def _begun(self) -> "list[FrozenTrial]":
        """Return the trials that a killed process was at; one that it was still asking for is given up."""
        from optuna.trial import TrialState

        keys = {axis.key for axis in self.axes}
        for trial in self._trials("RUNNING"):
            if set(trial.params) != keys:
                self.study._storage.set_trial_user_attr(trial._trial_id, _NEVER_BEGAN, True)
                self.study.tell(trial.number, state=TrialState.FAIL)
        return self._trials("RUNNING")

    def _number(self) -> int:
        return sum(_NEVER_BEGAN not in trial.user_attrs for trial in self.study.trials)

    def _trials(self, *states: str) -> "list[FrozenTrial]":
        return [trial for trial in self.study.trials if trial.state.name in states]

    def _asked(self, trial: Any) -> Asked:
        return Asked(number=trial.number, texts={axis.key: axis.text(trial.params[axis.key]) for axis in self.axes})

    def _spelled(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(axis.text(params[axis.key]) if axis.key in params else "" for axis in self.axes)

    def _params(self, values: Mapping[str, Plain]) -> dict[str, Plain] | None:
        """Return a trial's values as the study's own, or nothing where it is not of this space."""
        try:
            return {axis.key: axis.place(values[axis.key]) for axis in self.axes}
        except (KeyError, ValueError):
            return None

    def _add(self, finding: Finding, params: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState, create_trial

        done = finding.end is End.done and finding.value is not None
        self.study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if done else TrialState.PRUNED, value=finding.value if done else None,
                params=dict(params), distributions={axis.key: axis.distribution() for axis in self.axes},
                intermediate_values=dict(finding.curve),
            )
        )  # fmt: skip
