"""Rules for the before/after card: the judge's address and key, the harness and its tasks, found before training."""

import importlib.util
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from phi_runner.config import typo
from phi_runner.config.schema import CatalogTrain, EvaluateConfig, JudgeConfig, RunConfig, StageName

_ASKED = re.compile(r"(?m)^[\"']?(?:task|group|tag)[\"']?:[ \t]*[\"']?([^\s\"'\[{#-][^\s\"'\[{#]*)")
_LISTED = re.compile(r"(?m)^[\"']?tag[\"']?:[ \t]*(?:\[([^\]]*)\]|((?:\n[ \t]*-[^\n]*)+))")
_WORD = re.compile(r"[\w./+-]+")


def unmeasured(config: RunConfig) -> str:
    """Say that a model of the catalog's fine-tune, or of a sweep's trial, cannot be opened here, or nothing."""
    if config.sweep.grid:
        return "a sweep's trials measure themselves"
    return "train=azure_catalog leaves its model in Azure" if isinstance(config.train, CatalogTrain) else ""


def problems(config: RunConfig) -> Iterator[str]:
    """Yield one sentence for each thing that the stage `evaluate` would miss."""
    if StageName.evaluate not in config.stages:
        return
    yield from _judge(config.evaluate.judge)
    yield from _tasks(config.evaluate)


def _judge(judge: JudgeConfig) -> Iterator[str]:
    if not judge.url:
        if judge.model:
            yield f"evaluate.judge.model={judge.model} is asked nowhere: type evaluate.judge.url=https://HOST/v1"
        return
    parts = urlsplit(judge.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield f"evaluate.judge.url={judge.url} is no address: type evaluate.judge.url=https://HOST/v1"
    elif parts.password or parts.username or parts.query:
        yield (
            "evaluate.judge.url holds more than an address, and it would be kept in the run's files: put the key into "
            f"the environment variable {judge.key_env or 'OPENAI_API_KEY'}, and type evaluate.judge.url="
            f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        )
    if judge.key_env and not os.environ.get(judge.key_env):
        yield (
            f"evaluate.judge.url asks a judge whose key is not set: type export {judge.key_env}=..., or "
            "evaluate.judge.key_env= for an endpoint that wants none"
        )


def _tasks(evaluate: EvaluateConfig) -> Iterator[str]:
    if not evaluate.tasks:
        return
    folder = Path(evaluate.tasks_folder).expanduser() if evaluate.tasks_folder else None
    if folder and not folder.is_dir():
        yield f"evaluate.tasks_folder={evaluate.tasks_folder} is no folder: type evaluate.tasks_folder=FOLDER"
        return
    found = importlib.util.find_spec("lm_eval")
    if found is None or found.origin is None:
        without = "type pip install 'phi-runner[lm_eval]', or evaluate.tasks=[]"
        yield f"evaluate.tasks needs lm_eval, not installed: {without}"
        return
    own = _names(folder) if folder else frozenset()
    if set(evaluate.tasks) <= own:
        return
    known = own | _names(Path(found.origin).parent / "tasks")
    for name in evaluate.tasks:
        if name not in known and not any(sign in name for sign in "*?["):
            near = [f"evaluate.tasks=[{other}]" for other in typo.nearest(name, sorted(known))]
            yield f"evaluate.tasks: there is no task {name!r}{typo.did_you_mean(near)}"


@cache
def _names(folder: Path) -> frozenset[str]:
    """Return the tasks, groups and tags that a folder's YAML names; the harness itself takes half a minute for that."""
    names: set[str] = set()
    for file in folder.rglob("*yaml"):
        text = file.read_text(encoding="utf-8", errors="replace")
        names.update(_ASKED.findall(text))
        for inside, below in _LISTED.findall(text):
            names.update(_WORD.findall(inside or below))
    return frozenset(names)
