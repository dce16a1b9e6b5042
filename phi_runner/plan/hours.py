"""How long every stage takes: as it took before, else a stated guess; clouds are slow, and say so."""

import json
import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import replace

from phi_runner.config import clouds, earlier_runs
from phi_runner.config.schema import (
    AzureCompute,
    AzureDeploy,
    CatalogTrain,
    FoundryFlow,
    HubData,
    HubModel,
    NoDeploy,
    NoFlow,
    PlainFlow,
    RunConfig,
    StageName,
)
from phi_runner.plan.bands import Band, Figure, Missing
from phi_runner.plan.place import Place
from phi_runner.plan.rates import rate
from phi_runner.plan.shape import Shape
from phi_runner.plan.text import Text
from phi_runner.store import Manifest, Store

_MINUTE = 1 / 60
_SECOND = 1 / 3600
_MEASURED = 0.5, 2.0
"""A stage's time on other data or another model differs by as much from the last ones; it is not scaled."""
_NODE = Band(low=3 * _MINUTE, likely=6 * _MINUTE, high=20 * _MINUTE, unit="h", source="stated: a node comes up")
_IMAGE = Band(low=0.0, likely=4 * _MINUTE, high=20 * _MINUTE, unit="h", source="stated: the job's image comes")
_CATALOG = Band(low=0.3, likely=1.0, high=6.0, unit="h", source="stated: Azure's own fine-tune, waiting included")
_ROWS_S = 300, 800, 1500
"""Rows that the data stage reads, checks and writes in a second."""
_DOWNLOAD_BYTES_S = 5e6, 30e6, 200e6
_MEMORY_BYTES_S = {False: (3e9, 10e9, 40e9), True: (100e9, 600e9, 2000e9)}
"""Every new token of an answer reads all weights once, at so many bytes a second: processor, GPU."""


def _s(low: float, likely: float, high: float, source: str) -> Band:
    return Band(low=low * _SECOND, likely=likely * _SECOND, high=high * _SECOND, unit="h", source=f"stated: {source}")


def plus(*figures: Figure, source: str = "") -> Figure:
    """Return the sum of times; a missing one makes it missing."""
    bands = [figure for figure in figures if isinstance(figure, Band)]
    missing = [figure for figure in figures if isinstance(figure, Missing)]
    if missing:
        return missing[0]
    sources = dict.fromkeys(band.source for band in bands if band.high)
    return Band(
        low=sum(band.low for band in bands), likely=sum(band.likely for band in bands),
        high=sum(band.high for band in bands), unit="h", source=source or "; ".join(sources),
    )  # fmt: skip


def by_stage(
    config: RunConfig, *, store: Store, reused: Collection[StageName], training: Figure, place: Place | Missing,
    shape: Shape | Missing, text: Text | Missing,
) -> Mapping[StageName, Figure]:  # fmt: skip
    """Return the hours of every selected stage; one that is reused takes none."""
    found: dict[StageName, Figure] = {}
    for stage in sorted(config.stages, key=list(StageName).index):
        if stage in reused:
            found[stage] = _s(0, 0, 0, "reused")
        elif stage is StageName.train:
            found[stage] = _in_place(config, training)
        elif stage is StageName.reproduce:
            found[stage] = _again(config, store)
        else:
            known = _before(store, stage, config)
            found[stage] = known or _guess(config, stage, place=place, shape=shape, text=text)
    return found


def _in_place(config: RunConfig, training: Figure) -> Figure:
    """Return the training's time with what a cluster takes until it begins."""
    if isinstance(config.train, CatalogTrain):
        return _s(5, 20, 60, "an emulated job") if clouds.rehearses(config) else _CATALOG
    if isinstance(config.compute, AzureCompute) and not clouds.rehearses(config):
        return plus(training, _NODE, _IMAGE)
    return training


def _before(store: Store, stage: StageName, config: RunConfig) -> Band | None:
    """Return what the stage took the last times, of the same kind of choice."""
    alike = [manifest for manifest in store.manifests(stage) if _alike(manifest, stage, config)][:3]
    if not alike:
        return None
    seconds = [manifest.seconds for manifest in alike]
    likely = statistics.median(seconds) * _SECOND
    times = "the last time" if len(alike) == 1 else f"the last {len(alike)} times"
    return Band(
        low=likely * _MEASURED[0], likely=likely, high=max(seconds) * _SECOND * _MEASURED[1], unit="h",
        source=f"what {stage} took {times} here",
    )  # fmt: skip


def _alike(manifest: Manifest, stage: StageName, config: RunConfig) -> bool:
    """Say whether a stored result was made the same way: in the cloud or here, of the same source."""
    parts = manifest.parts
    if stage is StageName.data:
        return all(
            parts.get(f"config:data.{name}") == str(getattr(config.data, name, None))
            for name in ("take", "repo", "train_file") if hasattr(config.data, name)
        )  # fmt: skip
    if stage is StageName.evaluate:
        return parts.get("config:evaluate.prompts") == str(config.evaluate.prompts)
    if stage is StageName.deploy:
        return ("config:deploy.instance_type" in parts) is isinstance(config.deploy, AzureDeploy)
    return stage in (StageName.register, StageName.infra) or parts.get("config:flow.name") is not None


def _again(config: RunConfig, store: Store) -> Figure:
    """Return the time of an earlier run's stages, as their results in the store tell it."""
    folder = earlier_runs.folder_of(config.run, outputs=config.outputs)
    try:
        record = json.loads((folder / earlier_runs.RECORD).read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):
        record = {}
    keys = {item["name"]: item["key"] for item in record.get("stages", []) if item.get("key")}
    wanted = config.reproduce.stages or [stage for stage in earlier_runs.REPEATED if stage in keys]
    made = [store.look(stage, keys[stage])[0] for stage in wanted if stage in keys]
    if not made or None in made:
        return Missing(what=f"how long {config.run} took: its results are no longer stored")
    seconds = sum(manifest.seconds for manifest in made if manifest)
    low, high = (seconds * factor for factor in _MEASURED)
    return replace(_s(low, seconds, high, ""), source="what its stages took then")


def _guess(
    config: RunConfig, stage: StageName, *, place: Place | Missing, shape: Shape | Missing, text: Text | Missing
) -> Figure:
    cloud = not clouds.rehearses(config)
    match stage:
        case StageName.data:
            return _data(config, text)
        case StageName.evaluate:
            return _evaluate(config, place=place, shape=shape, text=text)
        case StageName.infra:
            return _s(180, 480, 1500, "services and cluster") if cloud else _s(3, 10, 60, "an emulated cloud")
        case StageName.register:
            if clouds.registers_in_workspace(config) and cloud:
                return _s(30, 180, 1800, "the model is uploaded")
            return _s(3, 15, 120, "the weights are written once more")
        case StageName.deploy:
            return _deploy(config, cloud=cloud)
        case StageName.flow:
            return _flow(config, cloud=cloud)
        case StageName.chat:
            return Band(low=0.0, likely=0.0, high=0.0, unit="h", source="you end it")
        case StageName.teardown:
            return _s(1, 60, 1200, "stops what runs, deletes what bills")
        case _:
            return _s(1, 3, 20, "reads what is stored")


def _data(config: RunConfig, text: Text | Missing) -> Figure:
    start = _s(0.5, 3, 20, "reading, checking and writing of rows")
    if isinstance(text, Missing):
        return text if isinstance(config.data, HubData) else start
    slow, usual, quick = _ROWS_S
    rows = text.rows + text.held_out
    work = _s(rows / quick, rows / usual, rows / slow, f"{rows} rows at {slow} to {quick} a second")
    download = _s(0, 60, 900, "the data set is downloaded") if isinstance(config.data, HubData) else _s(0, 0, 0, "")
    return plus(start, work, download)


def _evaluate(config: RunConfig, *, place: Place | Missing, shape: Shape | Missing, text: Text | Missing) -> Figure:
    """Return two models' opening, held-out loss, and answers: one pass over the weights for each new token."""
    for known in (shape, place):
        if isinstance(known, Missing):
            return known
    assert isinstance(place, Place)  # noqa: S101 - narrowed above
    assert isinstance(shape, Shape)  # noqa: S101
    speed = rate(place)
    if isinstance(speed, Missing):
        return speed
    weights = shape.architecture.parameters
    held_out = text.held_out * text.tokens / max(1, text.rows) if isinstance(text, Text) else 0.0
    batches = math.ceil(config.evaluate.prompts / config.evaluate.batch_size)
    reads = batches * config.evaluate.max_new_tokens * 4 * weights
    slow, usual, quick = _MEMORY_BYTES_S[place.cuda]
    operations = 2 * weights * (held_out + config.evaluate.prompts * config.evaluate.max_new_tokens)
    opened = 4 * weights / 1e9
    return Band(
        low=2 * (2 + opened / 3 + operations / speed.high + reads / quick) * _SECOND,
        likely=2 * (6 + opened + operations / speed.likely + reads / usual) * _SECOND,
        high=2 * (30 + 3 * opened + operations / speed.low + reads / slow) * _SECOND, unit="h",
        source="stated: two models opened, asked and measured",
    )  # fmt: skip


def _deploy(config: RunConfig, *, cloud: bool) -> Figure:
    if isinstance(config.deploy, NoDeploy):
        return _s(0, 0, 0, "nothing is deployed")
    if isinstance(config.deploy, AzureDeploy):
        return _s(480, 900, 2400, "endpoint, image and instance") if cloud else _s(10, 40, 180, "an emulated endpoint")
    return _s(10, 30, 180, "a server starts and proves itself")


def _flow(config: RunConfig, *, cloud: bool) -> Figure:
    if isinstance(config.flow, NoFlow):
        return _s(0, 0, 0, "there is no flow")
    if isinstance(config.flow, FoundryFlow) and cloud:
        return _s(120, 300, 1200, "hub, project and connection")
    if isinstance(config.flow, PlainFlow):
        return _s(2, 8, 40, "a question and its answer")
    return _s(10, 40, 300, "the flow's libraries")


def download(config: RunConfig, shape: Shape | Missing, *, cached: bool) -> Band:
    """Return the time in which a model of the hub comes; none when it is here."""
    if cached or not isinstance(config.model, HubModel) or config.model.path or isinstance(shape, Missing):
        return _s(0, 0, 0, "")
    bytes_ = 2 * shape.architecture.parameters
    slow, usual, quick = _DOWNLOAD_BYTES_S
    return _s(bytes_ / quick, bytes_ / usual, bytes_ / slow, f"{bytes_ / 1e9:.1f} GB of weights are downloaded")
