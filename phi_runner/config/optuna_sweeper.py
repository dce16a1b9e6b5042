"""`hydra/sweeper=optuna`: Hydra's side of a search. What to try is decided in `search/`, how it went lies in files."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from phi_runner.config import search_space
from phi_runner.config.objectives import OBJECTIVES, Objective, unseen
from phi_runner.config.schema.sweep import ObjectiveName
from phi_runner.errors import ConfigProblem
from phi_runner.search.samplers import SamplerName
from phi_runner.search.space import Axis
from phi_runner.search.study import JOURNAL, MEMBERS, Asked, End, Finding, Search

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

_TRIAL, _RUN, _CURVE = "trial.json", "run.json", "held_out.json"
_NAME = "hydra_plugins.phi_runner.OptunaSweeper"
"""Its `_target_` in the preset."""


class OptunaSweeper(Sweeper):
    """Asks a study for trials and lets Hydra's launcher run them, until enough have finished."""

    def __init__(
        self, *, sampler: str, n_trials: int, n_jobs: int, seed: int, storage: str | None, study_name: str | None,
        params: DictConfig | None,
    ) -> None:  # fmt: skip
        self._sampler, self._seed = SamplerName(sampler), seed
        self._n_trials, self._n_jobs = n_trials, n_jobs
        self._storage, self._study_name = storage, study_name
        self._params = {str(key): str(value) for key, value in (params or {}).items()}
        self._objective = OBJECTIVES[ObjectiveName.loss_after]
        self._config: DictConfig | None = None
        self._context: HydraContext | None = None
        self._launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every sweeper."""
        self._config, self._context = config, hydra_context
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run trials until as many as were asked for have finished; failed ones of an earlier call come first."""
        assert self._config is not None and self._context is not None  # noqa: S101, PT018 (Hydra calls setup first)
        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / "multirun.yaml")
        texts = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        axes, fixed = search_space.split(texts, loader=self._context.config_loader)
        search = self._search(axes, fixed, folder=folder)
        search.learn(_earlier(folder, objective=self._objective))
        search.retry_failed()
        _leave_members(search, folder=folder)
        returns = []
        left = self._n_trials - search.finished
        while left > 0:
            batch = search.next(most=min(self._n_jobs, left))
            left -= len(batch)
            returns.append(self._launch(search, batch, fixed))
        return returns

    def _search(self, axes: Sequence[Axis], fixed: Sequence[str], *, folder: Path) -> Search:
        assert self._config is not None and self._context is not None  # noqa: S101, PT018
        composed = self._context.config_loader.load_sweep_config(self._config, list(fixed))
        self._objective = OBJECTIVES[ObjectiveName(composed.sweep.objective)]
        if unmeasured := unseen(self._objective, stages=list(composed.stages)):
            raise ConfigProblem(unmeasured)
        return Search(
            axes=axes, place=self._storage or folder / JOURNAL, name=self._study_name or "", sampler=self._sampler,
            seed=self._seed, maximise=self._objective.maximise,
            about=self._objective.name,
        )  # fmt: skip

    def _launch(self, search: Search, batch: Sequence[Asked], fixed: Sequence[str]) -> Sequence[JobReturn]:
        """Run trials and tell the study at once how they ended."""
        assert self._launcher is not None and self._config is not None  # noqa: S101, PT018
        overrides = [[*fixed, *(f"{key}={text}" for key, text in asked.texts.items())] for asked in batch]
        # A number of the study is never given twice, so it also names the trial among all of this sweep.
        returns = self._launcher.launch(overrides, initial_job_idx=batch[0].number)
        _leave_members(search, folder=Path(self._config.hydra.sweep.dir))
        for asked, returned in zip(batch, returns, strict=True):
            search.tell(asked, _ended(returned, objective=self._objective))
        return returns


def _ended(returned: JobReturn, *, objective: Objective) -> Finding:
    if returned.status is not JobStatus.COMPLETED or returned.hydra_cfg is None:
        return Finding(end=End.failed)
    folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)
    return _finding(folder, objective=objective) or Finding(end=End.failed)


def _leave_members(search: Search, *, folder: Path) -> None:
    """Write down which trials of a sweep's folder are this study's: another interval makes another leaderboard."""
    mine = []
    for file in sorted(folder.glob(f"*/{_TRIAL}")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if search.holds(json.loads(file.read_text(encoding="utf-8"))["values"]):
                mine.append(file.parent.name)
    (folder / MEMBERS).write_text(json.dumps(mine), encoding="utf-8")


def _earlier(folder: Path, *, objective: Objective) -> Iterator[Finding]:
    """Yield what the finished trials of a sweep's folder have found, whoever ran them."""
    found = (_finding(file.parent, objective=objective) for file in sorted(folder.glob(f"*/{_TRIAL}")))
    return (finding for finding in found if finding and finding.end is not End.failed)


def _finding(folder: Path, *, objective: Objective) -> Finding | None:
    """Read how a trial ended; one that says nothing, or is half written, has not ended."""
    try:
        told, run = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (_TRIAL, _RUN))
        end, value = End(told["status"]), objective.of(run["values"])
        if end is End.done and value is None:  # it was asked for something else then
            return None
        return Finding(end=end, value=value, values=dict(told["values"]), curve=_curve(folder / _CURVE))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _curve(file: Path) -> tuple[tuple[int, float], ...]:
    if not file.is_file():
        return ()
    return tuple((int(at), float(loss)) for at, loss in json.loads(file.read_text(encoding="utf-8")))


def is_ours(settings: DictConfig) -> bool:
    """Say whether Hydra's settings of its sweeper name this one."""
    return str(settings.get("_target_")) == _NAME


def register() -> None:
    """Make the sweeper known to Hydra, which takes plugins only by a name below `hydra_plugins`.

    The class stays where it is, so that a launcher's workers find it when it is sent to them.
    """
    plugins = Plugins.instance()
    plugins.register(OptunaSweeper)
    plugins.class_name_to_class[_NAME] = OptunaSweeper
