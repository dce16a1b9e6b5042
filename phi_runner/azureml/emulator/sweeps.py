"""Sweep jobs: the trials of a search space as command jobs of their own, and the best of them.

A trial reports its metrics in its log, as `{"metrics": {"loss": 1.5}}` or `##metric loss=1.5` in a line of its own;
the last value of the primary metric counts.
"""

import itertools
import json
import math
import random
import re
from typing import Any

from phi_runner.azureml.emulator.cloud import Body, Cloud
from phi_runner.azureml.emulator.job_files import JobFailed, artifacts_of, fill
from phi_runner.azureml.emulator.places import ARTIFACTS

_METRIC = re.compile(r"##metric (\S+?)=(\S+)")


def plan(cloud: Cloud, path: str) -> list[str]:
    """Store the trials of a sweep as jobs that have not run yet, unless they are there; return their ARM paths."""
    body = (cloud.get(path) or {})["properties"]
    workspace, name = path.rsplit("/jobs/", 1)
    trials = []
    for number, chosen in enumerate(_chosen(body)):
        trial = f"{workspace}/jobs/{name}_{number}"
        trials.append(trial)
        if cloud.get(trial) is None:
            with cloud.lock:
                cloud.put(trial, {"properties": _trial(body, chosen, name=f"{name}_{number}")}, status="NotStarted")
                cloud.note(trial, parent=path, chosen=chosen)
    return trials


def _trial(body: Body, chosen: dict[str, Any], *, name: str) -> Body:
    trial = body["trial"]
    values = {f"search_space.{key}": str(value) for key, value in chosen.items()}
    shared = {key: body.get(key) or {} for key in ("inputs", "outputs", "tags")}
    return shared | {
        "jobType": "Command",
        "command": fill(trial["command"], values),
        "codeId": trial.get("codeId"),
        "environmentId": trial.get("environmentId"),
        "environmentVariables": trial.get("environmentVariables") or {},
        "distribution": trial.get("distribution"),
        "resources": trial.get("resources") or body.get("resources"),
        "computeId": body.get("computeId"),
        "experimentName": body.get("experimentName", "Default"),
        "displayName": name,
        "properties": {"hyperparameters": json.dumps(chosen)},
        "services": body.get("services") or {},
        "isArchived": False,
    }


def _chosen(body: Body) -> list[dict[str, Any]]:
    """Return the parameters of each trial; raises JobFailed."""
    space = body.get("searchSpace") or {}
    algorithm = body.get("samplingAlgorithm") or {}
    most = int((body.get("limits") or {}).get("maxTotalTrials") or 0)
    kind = str(algorithm.get("samplingAlgorithmType", "Grid")).lower()
    if kind == "grid":
        for name, (how, _arguments) in space.items():
            if how != "choice":
                raise JobFailed("UserError", f"Grid sampling takes choice parameters only, {name} is {how}.")
        grid = itertools.product(*(arguments[0] for _how, arguments in space.values()))
        found = [dict(zip(space, values, strict=True)) for values in grid]
        return found[:most] if most else found
    generator = random.Random(algorithm.get("seed") or 0)  # noqa: S311 - a sweep's dice, seeded
    return [
        {name: _draw(name, how, arguments, generator) for name, (how, arguments) in space.items()}
        for _number in range(most or 1)
    ]


def _draw(name: str, how: str, arguments: list[Any], generator: random.Random) -> Any:
    match how:
        case "choice":
            return generator.choice(arguments[0])
        case "uniform":
            return generator.uniform(*arguments)
        case "loguniform":
            return math.exp(generator.uniform(*arguments))
        case "randint":
            return generator.randrange(arguments[0])
        case _:
            raise JobFailed("UserError", f"{name}: {how} is not emulated; choice, uniform, loguniform, randint are.")


def conclude(cloud: Cloud, path: str, *, trials: list[str]) -> None:
    """Note the best trial at the sweep; raises JobFailed when no trial has completed."""
    body = (cloud.get(path) or {})["properties"]
    objective = body.get("objective") or {}
    completed = [trial for trial in trials if (cloud.get(trial) or {})["properties"]["status"] == "Completed"]
    if not completed:
        raise JobFailed("UserError", f"None of the {len(trials)} trials of the sweep has completed.")
    metric = str(objective.get("primaryMetric", ""))
    scores = {trial: score for trial in completed if (score := _score(cloud, trial, metric)) is not None}
    if not scores:
        raise JobFailed("UserError", f"No trial has reported the primary metric {metric}.")
    pick = max if str(objective.get("goal", "")).lower() == "maximize" else min
    best = pick(scores, key=lambda trial: scores[trial])
    noted = {"best_child_run_id": best.rsplit("/", 1)[1], "score": str(scores[best]), "best_metric_status": "Succeeded"}
    cloud.change(path, properties=(body.get("properties") or {}) | noted)


def _score(cloud: Cloud, trial: str, metric: str) -> float | None:
    """Return the last value of a metric in a trial's log."""
    base = f"{artifacts_of(trial.rsplit('/', 1)[1])}/user_logs/"
    names = sorted(cloud.blobs.names(ARTIFACTS, base))
    found = None
    for line in cloud.blobs.read(ARTIFACTS, names[0]).decode(errors="replace").splitlines() if names else ():
        found = _metrics(line).get(metric, found)
    return found


def _metrics(line: str) -> dict[str, float]:
    if found := _METRIC.search(line):
        said = {found[1]: found[2]}
    elif line.lstrip().startswith("{"):
        try:
            said = json.loads(line).get("metrics") or {}
        except (ValueError, AttributeError):
            return {}
    else:
        return {}
    try:
        return {name: float(value) for name, value in said.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
