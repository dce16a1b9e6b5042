"""Splits of Hugging Face data sets as sources: the only home of `datasets` in the data stage."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import httpx

from phi_runner.config.schema import HubData
from phi_runner.config.typo import did_you_mean, nearest
from phi_runner.data.rows import Record, Source
from phi_runner.errors import DataProblem


def open_splits(config: HubData) -> tuple[Source, Source | None]:
    """Return the split to learn from and the held-out one, if named; downloads what is not in the hub's cache.

    With `data.stream` nothing is downloaded before a row is read.

    Raises DataProblem when the data set, its subset or a split does not exist, or the hub cannot be reached.
    """
    splits = _load(config)
    train = _source(splits, repo=config.repo, key="data.split", split=config.split)
    if not config.eval_split:
        return train, None
    return train, _source(splits, repo=config.repo, key="data.eval_split", split=config.eval_split)


def pinned(config: HubData) -> HubData:
    """Name the commit that the revision means now; it stays as typed for a folder, or where the hub does not say."""
    from huggingface_hub import HfApi

    if Path(config.repo).is_dir():
        return config
    try:
        commit = HfApi().dataset_info(config.repo, revision=config.revision).sha
    except (OSError, httpx.HTTPError):
        return config  # what cannot be reached is told when it is opened
    return replace(config, revision=commit or config.revision)


def _load(config: HubData) -> Any:
    # all splits at once: `datasets` downloads them all anyway, and so a wrong name can be told from the right ones
    try:
        return datasets.load_dataset(config.repo, name=config.subset, revision=config.revision, streaming=config.stream)
    except ConnectionError as err:
        why = "HF_HUB_OFFLINE is set" if datasets.config.HF_HUB_OFFLINE else "the Hugging Face hub cannot be reached"
        raise DataProblem(
            f"data.repo={config.repo} is not on this machine and {why}: connect once to download it, "
            "or use a local file with data=jsonl data.train_file=PATH"
        ) from err
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as err:
        named = f"data.repo={config.repo} data.subset={config.subset} data.revision={config.revision}"
        raise DataProblem(f"{named} cannot be loaded: {_first_line(err.__cause__ or err)}") from err


def _source(splits: Any, *, repo: str, key: str, split: str) -> Source:
    if split not in splits:
        names = [str(name) for name in splits]
        hint = did_you_mean(f"{key}={name}" for name in nearest(split, names)) or f": it has {', '.join(names)}"
        raise DataProblem(f"{key}={split} is not in {repo}{hint}")
    name = f"{repo} {split}"
    rows = splits[split]

    def read() -> Iterator[Record]:
        number = 0
        try:
            for number, fields in enumerate(rows, start=1):
                yield Record(place=f"{name} row {number}", fields=fields)
        except (OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError) as err:
            raise DataProblem(
                f"{name} cannot be read after row {number}: {_first_line(err.__cause__ or err)}; the same command goes "
                "on from the last checkpoint"
            ) from err

    return Source(name=name, total=lambda: len(rows), read=read)


def _first_line(err: BaseException) -> str:
    return (str(err) or type(err).__name__).partition("\n")[0]
