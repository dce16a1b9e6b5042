"""What `data.stream` needs, found before anything runs: rows one by one, one process, a number of steps."""

from collections.abc import Iterator
from typing import TypeGuard

from phi_runner.config import compute_check
from phi_runner.config.schema import (
    AzureCompute,
    CatalogTrain,
    DataConfig,
    DpoTrain,
    FileData,
    HubData,
    NanoModel,
    RunConfig,
    SlurmCompute,
    StageName,
)
from phi_runner.config.take import parse_take
from phi_runner.errors import ConfigProblem

_SAID = "data.stream=true"
STEPS = "max_steps"
"""TRL's name for the number of optimiser steps, which a training without a known number of rows needs."""


def streams(data: DataConfig) -> TypeGuard[FileData | HubData]:
    """Say whether the rows stay at their source until training reads them."""
    return isinstance(data, FileData | HubData) and data.stream


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what stands in the way of reading the rows while training."""
    if not streams(config.data):
        return
    yield from _source(config.data)
    if StageName.train in config.stages:
        yield from _method(config)
        yield from _place(config)


def _source(data: FileData | HubData) -> Iterator[str]:
    if isinstance(data, FileData) and data.train_file.lower().endswith(".json"):
        yield f"{_SAID} reads row by row, and a .json file is read as a whole: write one object a line into a .jsonl"
    try:
        take = parse_take(data.take)
    except ConfigProblem:
        return  # told by the check of data.take
    if take.is_share and take.amount < 1:
        yield f"{_SAID} does not count the rows, and data.take={data.take} is a share of them: type data.take=100000"


def _method(config: RunConfig) -> Iterator[str]:
    train = config.train
    if isinstance(train, DpoTrain | CatalogTrain):
        yield f"{_SAID} is not for train={train.kind}, which takes its rows as a whole: type data.stream=false"
    if isinstance(config.model, NanoModel) and not config.model.path:
        yield (
            f"{_SAID}: the tokenizer of model=phi3_nano is trained on the data, which would be read twice: "
            "type model=local model.path=FOLDER of a model that has one"
        )
    steps = train.extra.get(STEPS)
    if not isinstance(steps, int) or steps < 1:
        yield f"{_SAID}: how many rows there are is not known, so say for how long: type +train.extra.{STEPS}=1000"


def _place(config: RunConfig) -> Iterator[str]:
    if isinstance(config.compute, AzureCompute):
        yield f"{_SAID} is not for compute={config.compute.kind}, whose jobs get the rows as files: type compute=cpu"
    elif compute_check.processes(config) != 1:
        one = "compute.nodes=1 compute.processes_per_node=1"
        typed = one if isinstance(config.compute, SlurmCompute) else "compute.processes=1"
        yield f"{_SAID} feeds one process, and several would share each step: type {typed}"
