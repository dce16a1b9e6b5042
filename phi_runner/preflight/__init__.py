"""The data preflight: what is wrong with the rows, found before anything is trained on them."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from phi_runner.artifacts import Dataset
from phi_runner.config.schema import RunConfig
from phi_runner.errors import DataProblem, TrainFailed
from phi_runner.events import StageEvents
from phi_runner.preflight import told
from phi_runner.preflight.cache import made_by, remembered
from phi_runner.preflight.judge import judged, of_tokens, refusal
from phi_runner.preflight.result import Scan, TokenCount
from phi_runner.preflight.told import Checked
from phi_runner.store import Parts

_CODE = ("preflight", "data", "config/take.py")
_TOKEN_CODE = (*_CODE, "model/tokens", "model/tokenizer.py", "model/phi3.jinja", "model/templates")


def check(config: RunConfig, dataset: Dataset, *, key: str, folder: Path, outputs: Path, events: StageEvents) -> None:
    """Leave `data_check.json` and `data_check.html` in `folder` and tell what they say.

    `key` is that of the data stage's result. Raises DataProblem when a bound of `preflight.*` refuses the rows.
    """
    cache = outputs / "cache" / "preflight"
    keep = partial(_remembered, cache, events=events)
    scanned = Scan.read(keep(_scan_parts(config, key), make=partial(_scan, config, dataset, cache, events)))
    counted = keep(_token_parts(config, key), make=partial(_count, config, dataset))
    tokens = TokenCount(**counted["tokens"]) if "tokens" in counted else None
    findings = [*scanned.findings, *(of_tokens(tokens, config) if tokens else [])]
    checked = Checked(
        config=config, dataset=dataset, scan=scanned, tokens=tokens, trouble=counted.get("trouble", ""),
        found=judged(findings, config),
    )  # fmt: skip
    told.leave(checked, folder=folder)
    told.tell(checked, events=events)
    why = refusal(checked.found, page=str(folder / told.PAGE))
    if why:
        raise DataProblem(why)


def _remembered(
    cache: Path, parts: Parts, *, events: StageEvents, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    return remembered(
        cache, parts, make=make, on_wait=lambda: events.info("another process checks these rows: waits for it")
    )


def _scan(config: RunConfig, dataset: Dataset, cache: Path, events: StageEvents) -> dict[str, Any]:
    from phi_runner.preflight.reading import Reading
    from phi_runner.preflight.scan import scan

    reading = Reading(config=config, dataset=dataset, most=config.preflight.rows)
    total = dataset.train_rows + dataset.test_rows + dataset.dropped_rows
    found = scan(
        reading, folder=cache, most=config.preflight.examples,
        on_rows=lambda rows: events.progress(rows, max(total, rows), "rows checked"),
    )  # fmt: skip
    return found.values()


def _count(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    from phi_runner.preflight.token_count import count

    try:
        return {"tokens": count(config, dataset).values()}
    except TrainFailed as err:  # training will say it again, and end for it
        return {"trouble": str(err)}


def _scan_parts(config: RunConfig, key: str) -> Parts:
    asked = {name: str(getattr(config.preflight, name)) for name in ("rows", "examples")}
    return asked | {"data": key} | made_by(*_CODE, libraries=("rensa", "rapidfuzz", "numpy"))


def _token_parts(config: RunConfig, key: str) -> Parts:
    from phi_runner.model import chat_tokenizer
    from phi_runner.store import file_hash

    train, model = config.train, config.model
    asked = {name: str(getattr(train, name)) for name in ("kind", "max_length", "packing", "assistant_only_loss")}
    asked |= {name: str(getattr(config.preflight, name)) for name in ("rows", "token_rows")}
    asked |= {"model": str({item.name: getattr(model, item.name) for item in fields(model)})}
    asked |= {file.name: file_hash(file) for file in chat_tokenizer.files(model)}
    return asked | {"data": key} | made_by(*_TOKEN_CODE, libraries=("tokenizers", "transformers", "numpy"))
